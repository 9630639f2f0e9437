"""Before and after the rewrites: what onnx-ir's passes do, and the promises about names, types and versions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping

import onnx_ir as ir
from onnx_ir.passes import PassError, PreconditionError, common

from onnxslim.core.gc_pause import pause_gc
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.traversal import make_names_unique, walk, walk_graphs
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR

logger = logging.getLogger(__name__)

#: Keys under which PyTorch's exporter writes the Python lines and modules that a node or a value came from.
TRACE_PREFIXES = ("pkg.torch.", "namespace")

#: A list of the initializers that the exporter wrote, on the graph: not true of what is left of them.
STALE_METADATA_KEY = "pkg.torch.export.ExportedProgram.graph_signature"

#: By the name of a value: its type and shape as the author wrote them.
DeclaredTypes = Mapping[str, tuple[ir.TypeProtocol | None, ir.Shape | None]]


@pause_gc()
def prepare(model: ir.Model, report: StepReport) -> DeclaredTypes:
    """Inline functions and gather initializers in the outermost graph, in place.

    Returns:
        What the author annotated.
    """
    make_names_unique(model.graph)
    types = {str(v.name): (v.type, None if v.shape is None else v.shape.copy()) for v in _iter_values(model)}
    if model.functions:
        _inline_functions(model, report)
    if model.ir_version < FREE_INITIALIZERS_IR:
        # Such a file has to list every initializer among the inputs, and runtimes let nobody override them.
        common.RemoveInitializersFromInputsPass()(model)
    for graph in list(walk_graphs(model.graph))[1:]:
        for name, value in list(graph.initializers.items()):
            if not (value.is_graph_input() or value.is_graph_output()):
                model.graph.register_initializer(graph.initializers.pop(name))
    return types


@pause_gc()
def finish(model: ir.Model, types: DeclaredTypes) -> None:
    """Restore the types and shapes of inputs, outputs and inner values as their author wrote them, in place.

    What inference added on the way is dropped: it would make the file larger, and outputs would gain made-up names. An
    output without a type or a shape, which the ONNX checker refuses, gets what was inferred of it.
    So are the traces that PyTorch's exporter leaves on nodes and values, half a kilobyte on each node, and its list of
    initializers; what else the model and its graph say of themselves stays.
    """
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)
    metadata = [node.metadata_props for node in walk(model.graph)]
    metadata += [value.metadata_props for value in (*_iter_values(model), *model.graph.initializers.values())]
    for properties in metadata:
        for key in [key for key in properties if key.startswith(TRACE_PREFIXES)]:
            del properties[key]
    model.graph.metadata_props.pop(STALE_METADATA_KEY, None)
    input_dims = {dim for value in model.graph.inputs for dim in shapes.get_dims(value) or ()}
    inferred = [(value, value.type, _drop_new_names(value.shape, input_dims)) for value in model.graph.outputs]
    interface_values = {*model.graph.inputs, *model.graph.outputs}
    for value in _iter_values(model):
        kept = (value.type, value.shape) if value.is_graph_output() else (None, None)
        declared = types.get(str(value.name), kept)
        value.type, value.shape = declared if value in interface_values or _is_consistent(value.shape, declared[1]) else kept
    for value, type_, shape in inferred:
        value.type = value.type or type_
        value.shape = shape if value.shape is None else value.shape
    if model.ir_version < FREE_INITIALIZERS_IR:
        common.AddInitializersToInputsPass()(model)


def _drop_new_names(shape: ir.Shape | None, known_dims: Collection[int | str | None]) -> ir.Shape | None:
    """``shape`` without the names that inference made up."""
    if shape is None:
        return None
    return ir.Shape([dim if isinstance(dim, int) else dim.value if dim.value in known_dims else None for dim in shape])


def _is_consistent(inferred: ir.Shape | None, declared: ir.Shape | None) -> bool:
    """Whether nothing that is known of a shape contradicts what its author wrote; removed channels do."""
    if inferred is None or declared is None:
        return True
    pairs = zip(inferred, declared, strict=False)
    return len(inferred) == len(declared) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def reinfer_shapes(model: ir.Model) -> None:
    """Infer every shape anew, in place.

    Inference keeps what it finds: a symbol from before a rewrite (or an exporter's mistake) would outlive its reason.
    So what standard ops make is forgotten first.
    """
    for node in walk(model.graph):
        if not node.domain:
            for output in node.outputs:
                output.shape = None
    shapes.infer(model)


def has_final_shapes(model: ir.Model) -> bool:
    """Whether another inference could say no more: every dimension is a number or a name that an input has."""
    input_dims = {dim for value in model.graph.inputs for dim in shapes.get_dims(value) or ()}
    for node in walk(model.graph):
        for output in node.outputs:
            dims = shapes.get_dims(output)
            if output.name and (dims is None or not all(isinstance(dim, int) or dim in input_dims for dim in dims)):
                return False
    return None not in input_dims


def count_nodes(model: ir.Model) -> int:
    """Nodes, those of nested graphs included."""
    return sum(1 for _ in walk(model.graph))


def _iter_values(model: ir.Model) -> Iterator[ir.Value]:
    """What graphs take and nodes make, nested graphs included; not the initializers."""
    for graph in walk_graphs(model.graph):
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _inline_functions(model: ir.Model, report: StepReport) -> None:
    """Inline every model-local function, or none."""
    functions = len(model.functions)
    try:
        common.InlinePass()(model.clone())  # it raises half-way through, so it is tried first
    except (PassError, PreconditionError, ValueError) as error:
        report.skip(model.graph.name or "model", f"functions are not inlined: {error}")
        return
    common.InlinePass()(model)
    common.TopologicalSortPass()(model)  # whatever was loaded is in order
    make_names_unique(model.graph)
    report.count("functions inlined", functions)
