"""Change what a model takes and gives: the shapes of its inputs, and which tensors are its inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set

import onnx_ir as ir
from onnx_ir.passes import common

from onnxslim.core.errors import UsageError
from onnxslim.graph import shapes
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import map_types, model_file
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR

#: Element types by the names that people use for them.
DTYPES_BY_NAME = {
    "fp16": ir.DataType.FLOAT16,
    "fp32": ir.DataType.FLOAT,
    "int32": ir.DataType.INT32,
    "bool": ir.DataType.BOOL,
}


def freeze_initializer_inputs(model: ir.Model, kept: Collection[str] = ()) -> list[str]:
    """Make constants, in place, of the initializers that are listed as inputs too, those called ``kept`` apart; their names.

    What a caller may replace is no constant: nothing folds, prunes or quantizes it, here or in the runtime. Exporters
    listed every weight for years, and nearly no caller replaces one. Below IR version 4 none can be replaced: the file
    format asks for the listing (whatever writes the model sees to it), so that all go and none is named.
    """
    fixed = model.ir_version < FREE_INITIALIZERS_IR
    graph = model.graph
    frozen = [v for v in graph.inputs if v.name in graph.initializers and (fixed or v.name not in kept)]
    for value in frozen:
        graph.inputs.remove(value)
    return [] if fixed else [str(value.name) for value in frozen]


def describe_frozen_inputs(names: Sequence[str]) -> list[str]:
    """What :func:`freeze_initializer_inputs` did, in a line for people; none where it did nothing."""
    if not names:
        return []
    were = (
        "weight was listed as an input too and is a constant"
        if len(names) == 1
        else ("weights were listed as inputs too and are constants")
    )
    return [f"{len(names)} {were} now (--keep-initializer-inputs leaves them inputs)"]


def list_input_names(model: ir.Model) -> list[str]:
    """The names of the inputs of ``model``, initializers that are listed there included."""
    return [str(value.name) for value in model.graph.inputs]


def set_input_shapes(model: ir.Model, new_shapes: Mapping[str, Sequence[int]]) -> None:
    """Fix dimensions of inputs in place; -1 leaves one as it is. Shapes that follow from them are inferred anew.

    Raises:
        UsageError: No such input, or a shape of another rank than the model's.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, sizes in new_shapes.items():
        value = _find_value(inputs, name, "input")
        old = shapes.get_dims(value)
        if old is not None and len(old) != len(sizes):
            raise UsageError(f"shape {_format_dims(sizes)} for input {name}, expected one like {_format_dims(old)}")
        old_dims = old or (None,) * len(sizes)
        value.shape = ir.Shape([dim if size < 0 else size for size, dim in zip(sizes, old_dims, strict=True)])
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    refresh_outputs(model)


def list_declared(model: ir.Model) -> dict[str, shapes.Dims | None]:
    """What ``model`` says of the shapes of its inputs and outputs, by name, for :func:`restore_declared`."""
    return {str(value.name): shapes.get_dims(value) for value in (*model.graph.inputs, *model.graph.outputs)}


def lend_ranks(model: ir.Model, ranks: Mapping[str, int]) -> None:
    """Give inputs of ``model`` that have no shape free dimensions, in place, as many as ``ranks`` says of them by name."""
    for value in model.graph.inputs:
        if value.shape is None and value.name in ranks:
            value.shape = ir.Shape([None] * ranks[str(value.name)])


def restore_declared(model: ir.Model, declared: Mapping[str, shapes.Dims | None]) -> None:
    """Say of inputs and outputs of ``model`` again, in place, what was ``declared``, and no more: of numbers, which may have
    been wrong, those that follow stay.
    """
    for value in (*model.graph.inputs, *model.graph.outputs):
        found, said = shapes.get_dims(value), declared.get(str(value.name), ())
        if said is None:
            value.shape = None
        elif found is None or len(said) == len(found):
            pairs = zip(said, found or said, strict=True)
            value.shape = ir.Shape([now if isinstance(old, int) and isinstance(now, int) else old for old, now in pairs])


def refresh_outputs(model: ir.Model) -> None:
    """Say of the outputs, in place, what follows from the inputs: sizes where there are any, else the old names."""
    copy = model.clone()
    for value in copy.graph.outputs:
        value.shape = None
    shapes.infer(copy)
    for value, inferred in zip(model.graph.outputs, copy.graph.outputs, strict=True):
        old, new = shapes.get_dims(value), shapes.get_dims(inferred)
        if new is not None:
            names = old if old is not None and len(old) == len(new) else (None,) * len(new)
            dims = [n if isinstance(n, int) else o if isinstance(o, str) else None for n, o in zip(new, names, strict=True)]
            value.shape = ir.Shape(dims)


def set_outputs(model: ir.Model, output_types: Mapping[str, ir.DataType | None]) -> None:
    """Make the tensors ``output_types`` the outputs, cast where a type is given, and drop what only others needed.

    Raises:
        UsageError: No such tensor.
    """
    shapes.infer(model)
    values, editor = _values_by_name(model), GraphEditor(model.graph)
    chosen = [_find_value(values, name, "tensor") for name in output_types]
    always_unread = {value for value in model.graph.inputs if not value.uses()}
    model.graph.outputs.clear()
    for value, dtype in zip(chosen, output_types.values(), strict=True):
        model.graph.outputs.append(value)
        if dtype is not None and dtype != value.dtype:
            cast = editor.add_cast(value, dtype, name=f"{value.name}_cast")
            editor.replace_output(value, cast, f"{value.name}_before_cast")
    _remove_unused(model, always_unread)


def tap_outputs(model: ir.Model, names: Iterable[str], *, only: bool = False) -> ir.Model:
    """A copy of ``model`` whose outputs include the main graph's tensors called ``names``.

    Args:
        model: It is not changed.
        names: Tensors of the main graph; inputs and outputs are allowed and stay what they are.
        only: Drop the model's own outputs, and the nodes that only they need.

    Raises:
        KeyError: A name that the main graph does not have.
    """
    tapped = model_file.clone(model)
    graph, values = tapped.graph, _values_by_name(tapped)
    tapped_values = [values[name] for name in dict.fromkeys(names)]
    if only:
        graph.outputs.clear()
    graph.outputs.extend(value for value in tapped_values if not value.is_graph_output())
    if only:
        GraphEditor(graph).remove_all_unread()
    return tapped


def set_inputs(model: ir.Model, input_types: Mapping[str, ir.DataType | None]) -> None:
    """Make the tensors ``input_types`` the inputs, of the type given, and drop what made them.

    Raises:
        UsageError: No such tensor, or the outputs need another input as well.
    """
    shapes.infer(model)
    values, editor = _values_by_name(model), GraphEditor(model.graph)
    chosen = {name: _find_value(values, name, "tensor") for name in input_types}
    old_inputs = list(model.graph.inputs)
    model.graph.inputs.clear()
    for name, dtype in input_types.items():
        old = chosen[name]
        keeps_type = dtype is None and (old.type is not None or map_types.describe(model.graph, name) is not None)
        kind = old.type if keeps_type else ir.TensorType(dtype or old.dtype or ir.DataType.FLOAT)
        new = ir.Value(name=name, type=kind, shape=old.shape)
        editor.rename(old, f"{name}_before_cut")
        model.graph.inputs.append(new)
        replacement, first = new, next(iter(model.graph), None)
        if dtype not in (None, old.dtype):
            stem = f"{name}_cast"
            replacement = editor.add_cast(new, old.dtype or ir.DataType.FLOAT, name=stem, output=stem, before=first)
        for node, index in list(old.uses()):
            node.replace_input_with(index, replacement)
        for index, output in enumerate(list(model.graph.outputs)):
            if output is old:  # it is returned as it comes in
                model.graph.outputs[index] = new
    _remove_unused(model, set(model.graph.inputs))
    for value in old_inputs:
        if value.uses() and value not in model.graph.inputs:
            raise UsageError(f"the outputs need input {value.name} as well", hint="name it among the inputs")


def _remove_unused(model: ir.Model, kept_inputs: Set[ir.Value]) -> None:
    """Drop what no output needs, inputs too unless they are of ``kept_inputs``."""
    common.RemoveUnusedNodesPass()(model)
    unread = [v for v in model.graph.inputs if not v.uses() and not v.is_graph_output() and v not in kept_inputs]
    for value in unread:
        model.graph.inputs.remove(value)


def _values_by_name(model: ir.Model) -> dict[str, ir.Value]:
    produced = (value for node in model.graph for value in node.outputs)
    given = (*model.graph.initializers.values(), *model.graph.inputs)
    return {str(value.name): value for value in (*given, *produced) if value.name}


def _find_value(values: Mapping[str, ir.Value], name: str, kind: str) -> ir.Value:
    if name not in values:
        known = list(values)
        more = f" and {len(known) - 8} more" if len(known) > 8 else ""
        raise UsageError(f"no {kind} {name} in the model", hint=f"it has {', '.join(known[:8])}{more}")
    return values[name]


def _format_dims(dims: Sequence[int | str | None]) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in dims)
