"""Before and after the rewrites: what onnx-ir's passes do, and the promises about names, types and versions."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from onnxslim import io
from onnxslim.account import Account
from onnxslim.graph.constants import initializers

logger = logging.getLogger(__name__)

#: Above this a model is measured by its tensors alone: the structure weighs nothing, and no message could hold it all.
_MEASURED_WHOLE = 200_000_000

#: The first IR version whose initializers need not be inputs.
_FREE_INITIALIZERS = 4


@dataclass(frozen=True)
class Interface:
    """What callers see of a model and what its author annotated, as it was.

    Attributes:
        types: Type and shape of every graph input and output, by name.
        annotated: Names of the inner values that carried a type or a shape.
        defaults: Names of initializers that were listed as inputs only because IR version 3 asks for it.
    """

    types: dict[str, tuple[ir.TypeProtocol | None, ir.Shape | None]]
    annotated: frozenset[str]
    defaults: frozenset[str]


def prepare(model: ir.Model, account: Account) -> Interface:
    """Inline functions, sort, and turn Constant nodes into initializers, in place."""
    before = sum(1 for _ in model.graph.all_nodes())
    values = [*model.graph.inputs, *model.graph.outputs]
    types = {str(v.name): (v.type, v.shape.copy() if v.shape is not None else None) for v in values}
    inner = (out for node in model.graph.all_nodes() for out in node.outputs)
    annotated = frozenset(str(v.name) for v in inner if v.shape is not None)
    defaults: frozenset[str] = frozenset()
    if model.ir_version < _FREE_INITIALIZERS:
        # Such a file has to list every initializer among the inputs, and runtimes let nobody override them.
        defaults = frozenset(str(v.name) for v in model.graph.inputs if str(v.name) in model.graph.initializers)
        common.RemoveInitializersFromInputsPass()(model)
    common.TopologicalSortPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    account.count("constants lifted", before - sum(1 for _ in model.graph.all_nodes()))
    return Interface(types, annotated, defaults)


def merge(model: ir.Model, account: Account) -> int:
    """Join equal subexpressions and equal initializers and drop what is not read, in place; returns nodes removed."""
    before = sum(1 for _ in model.graph.all_nodes())
    for single in (common.CommonSubexpressionEliminationPass(), common.RemoveUnusedNodesPass()):
        single(model)
    removed = before - sum(1 for _ in model.graph.all_nodes())
    account.count("merged or unread", removed)
    return removed


def finish(model: ir.Model, interface: Interface) -> None:
    """Restore what callers see, in place; drop annotations that the rewrites needed and the author never wrote."""
    common.DeduplicateHashedInitializersPass()(model)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.type, value.shape = interface.types.get(str(value.name), (value.type, value.shape))
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if not output.is_graph_output() and output.name not in interface.annotated:
                output.shape = output.type = None
    if model.ir_version < _FREE_INITIALIZERS:
        common.AddInitializersToInputsPass()(model)
    model.graph.sort()


def size(model: ir.Model) -> int:
    """Bytes of the file, external data included."""
    tensors = sum(int(v.const_value.nbytes) for _, _, v in initializers(model) if v.const_value is not None)
    return tensors if tensors > _MEASURED_WHOLE else len(io.to_bytes(model))
