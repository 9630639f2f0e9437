"""Change what a model takes and gives: the shapes of its inputs, and which tensors are its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from onnxslim.errors import UsageError
from onnxslim.graph import shapes

#: Element types by the names that people use for them.
DTYPES = {
    "fp16": ir.DataType.FLOAT16,
    "fp32": ir.DataType.FLOAT,
    "int32": ir.DataType.INT32,
    "bool": ir.DataType.BOOL,
}


def set_input_shapes(model: ir.Model, given: Mapping[str, Sequence[int]]) -> None:
    """Fix dimensions of inputs in place; -1 leaves one as it is. Shapes that follow from them are inferred anew.

    Raises:
        UsageError: No such input, or a shape of another rank than the model's.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, sizes in given.items():
        value = _find(inputs, name, "input")
        old = shapes.dims(value)
        if old is not None and len(old) != len(sizes):
            raise UsageError(f"shape {_text(sizes)} for input {name}, expected one like {_text(old)}")
        kept = old or (None,) * len(sizes)
        value.shape = ir.Shape([dim if size < 0 else size for size, dim in zip(sizes, kept, strict=True)])
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    refresh_outputs(model)


def refresh_outputs(model: ir.Model) -> None:
    """Say of the outputs, in place, what follows from the inputs: sizes where there are any, else the old names."""
    copy = model.clone()
    for value in copy.graph.outputs:
        value.shape = None
    shapes.infer(copy)
    for value, inferred in zip(model.graph.outputs, copy.graph.outputs, strict=True):
        old, new = shapes.dims(value), shapes.dims(inferred)
        if new is not None:
            names = old if old is not None and len(old) == len(new) else (None,) * len(new)
            dims = [
                n if isinstance(n, int) else o if isinstance(o, str) else None for n, o in zip(new, names, strict=True)
            ]
            value.shape = ir.Shape(dims)


def set_outputs(model: ir.Model, wanted: Mapping[str, ir.DataType | None]) -> None:
    """Make the tensors ``wanted`` the outputs, cast where a type is given, and drop what only others needed.

    Raises:
        UsageError: No such tensor.
    """
    shapes.infer(model)
    values = _values(model)
    chosen = [_find(values, name, "tensor") for name in wanted]
    model.graph.outputs.clear()
    for value, dtype in zip(chosen, wanted.values(), strict=True):
        name = str(value.name)
        if dtype is not None and dtype != value.dtype:
            value.name = f"{name}_before_cast"
            value = _cast(model, value, dtype, name, None)
        model.graph.outputs.append(value)
    _tidy(model)


def set_inputs(model: ir.Model, wanted: Mapping[str, ir.DataType | None]) -> None:
    """Make the tensors ``wanted`` the inputs, of the type given, and drop what made them.

    Raises:
        UsageError: No such tensor, or the outputs need another input as well.
    """
    shapes.infer(model)
    values = _values(model)
    chosen = {name: _find(values, name, "tensor") for name in wanted}
    before = list(model.graph.inputs)
    model.graph.inputs.clear()
    for name, dtype in wanted.items():
        old = chosen[name]
        new = ir.Value(name=name, type=ir.TensorType(dtype or old.dtype or ir.DataType.FLOAT), shape=old.shape)
        old.name = f"{name}_before_cut"
        model.graph.inputs.append(new)
        fed = (
            new if dtype in (None, old.dtype) else _cast(model, new, old.dtype or ir.DataType.FLOAT, f"{name}_cast", 0)
        )
        readers = [(node, index) for node, index in old.uses() if node is not fed.producer()]
        for node, index in readers:
            node.replace_input_with(index, fed)
    _tidy(model)
    for value in before:
        if value.uses() and value not in model.graph.inputs:
            raise UsageError(f"the outputs need input {value.name} as well", hint="name it among the inputs")


def _cast(model: ir.Model, value: ir.Value, dtype: ir.DataType, name: str, position: int | None) -> ir.Value:
    node = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{name}_cast")
    result = node.outputs[0]
    result.name, result.type, result.shape = name, ir.TensorType(dtype), value.shape
    if position is None or not len(model.graph):
        model.graph.append(node)
    else:
        model.graph.insert_before(model.graph[position], node)
    return result


def _tidy(model: ir.Model) -> None:
    common.RemoveUnusedNodesPass()(model)
    unread = [v for v in model.graph.inputs if not v.uses() and not v.is_graph_output()]
    for value in unread:
        model.graph.inputs.remove(value)


def _values(model: ir.Model) -> dict[str, ir.Value]:
    made = (value for node in model.graph for value in node.outputs)
    return {str(value.name): value for value in (*model.graph.inputs, *made) if value.name}


def _find(values: Mapping[str, ir.Value], name: str, kind: str) -> ir.Value:
    if name not in values:
        known = list(values)
        more = f" and {len(known) - 8} more" if len(known) > 8 else ""
        raise UsageError(f"no {kind} {name} in the model", hint=f"it has {', '.join(known[:8])}{more}")
    return values[name]


def _text(dims: Sequence[int | str | None]) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in dims)
