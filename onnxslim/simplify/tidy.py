"""Before and after the rewrites: what onnx-ir's passes do, and the promises about names, types and versions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import onnx_ir as ir
from onnx_ir.passes import PassError, PreconditionError, common

from onnxslim.account import Account
from onnxslim.collector import paused
from onnxslim.graph import shapes
from onnxslim.simplify.nested import graphs, unique_names, walk
from onnxslim.simplify.size import FREE_INITIALIZERS

logger = logging.getLogger(__name__)

#: Keys under which PyTorch's exporter writes the Python lines and modules that a node or a value came from.
TRACES = ("pkg.torch.", "namespace")

#: A list of the initializers that the exporter wrote, on the graph: not true of what is left of them.
STALE = "pkg.torch.export.ExportedProgram.graph_signature"

#: By the name of a value: its type and shape as the author wrote them.
Types = Mapping[str, tuple[ir.TypeProtocol | None, ir.Shape | None]]


@paused()
def prepare(model: ir.Model, account: Account) -> Types:
    """Inline functions and gather initializers in the outermost graph, in place.

    Returns:
        What the author annotated.
    """
    unique_names(model)
    types = {str(v.name): (v.type, None if v.shape is None else v.shape.copy()) for v in _values(model)}
    if model.functions:
        _inline(model, account)
    if model.ir_version < FREE_INITIALIZERS:
        # Such a file has to list every initializer among the inputs, and runtimes let nobody override them.
        common.RemoveInitializersFromInputsPass()(model)
    for graph in list(graphs(model.graph))[1:]:
        for name, value in list(graph.initializers.items()):
            if not (value.is_graph_input() or value.is_graph_output()):
                model.graph.register_initializer(graph.initializers.pop(name))
    return types


@paused()
def finish(model: ir.Model, types: Types) -> None:
    """Restore the types and shapes of inputs, outputs and inner values as their author wrote them, in place.

    What inference added on the way is dropped: it would make the file larger, and outputs would gain made-up names.
    So are the traces that PyTorch's exporter leaves on nodes and values, half a kilobyte on each node, and its list of
    initializers; what else the model and its graph say of themselves stays.
    """
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)
    traced = [node.metadata_props for node in walk(model.graph)]
    traced += [value.metadata_props for value in (*_values(model), *model.graph.initializers.values())]
    for properties in traced:
        for key in [key for key in properties if key.startswith(TRACES)]:
            del properties[key]
    model.graph.metadata_props.pop(STALE, None)
    callers = {*model.graph.inputs, *model.graph.outputs}
    for value in _values(model):
        kept = (value.type, value.shape) if value.is_graph_output() else (None, None)
        written = types.get(str(value.name), kept)
        value.type, value.shape = written if value in callers or _agrees(value.shape, written[1]) else kept
    if model.ir_version < FREE_INITIALIZERS:
        common.AddInitializersToInputsPass()(model)


def _agrees(inferred: ir.Shape | None, written: ir.Shape | None) -> bool:
    """Whether nothing that is known of a shape contradicts what its author wrote; removed channels do."""
    if inferred is None or written is None:
        return True
    pairs = zip(inferred, written, strict=False)
    return len(inferred) == len(written) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def infer(model: ir.Model) -> None:
    """Infer every shape anew, in place.

    Inference keeps what it finds: a symbol from before a rewrite (or an exporter's mistake) would outlive its reason.
    So what standard ops make is forgotten first.
    """
    for node in walk(model.graph):
        if not node.domain:
            for output in node.outputs:
                output.shape = None
    shapes.infer(model)


def settled(model: ir.Model) -> bool:
    """Whether another inference could say no more: every dimension is a number or a name that an input has."""
    named = {dim for value in model.graph.inputs for dim in shapes.dims(value) or ()}
    for node in walk(model.graph):
        for output in node.outputs:
            dims = shapes.dims(output)
            if output.name and (dims is None or not all(isinstance(dim, int) or dim in named for dim in dims)):
                return False
    return None not in named


def count(model: ir.Model) -> int:
    """Nodes, those of nested graphs included."""
    return sum(1 for _ in walk(model.graph))


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """What graphs take and nodes make, nested graphs included; not the initializers."""
    for graph in graphs(model.graph):
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _inline(model: ir.Model, account: Account) -> None:
    """Inline every model-local function, or none."""
    functions = len(model.functions)
    try:
        common.InlinePass()(model.clone())  # it raises half-way through, so it is tried first
    except (PassError, PreconditionError, ValueError) as error:
        account.decline(model.graph.name or "model", f"functions are not inlined: {error}")
        return
    common.InlinePass()(model)
    common.TopologicalSortPass()(model)  # whatever was loaded is in order
    unique_names(model)
    account.count("functions inlined", functions)
