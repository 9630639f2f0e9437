"""Before and after the rewrites: what onnx-ir's passes do, and the promises about names, types and versions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import PassError, PreconditionError, common

from onnxslim.account import Account
from onnxslim.graph import shapes
from onnxslim.simplify.nested import walk

logger = logging.getLogger(__name__)

#: The first IR version whose initializers need not be inputs.
FREE_INITIALIZERS = 4

Types = tuple[ir.TypeProtocol | None, ir.Shape | None]


@dataclass(frozen=True)
class Interface:
    """What callers see of a model and what its author annotated, as it was.

    Attributes:
        types: Type and shape of every graph input and output, by name.
        annotated: Type and shape of the inner values that carried a shape, by name.
    """

    types: Mapping[str, Types]
    annotated: Mapping[str, Types]


def prepare(model: ir.Model, account: Account) -> Interface:
    """Inline functions, sort, drop what is not read and turn Constant nodes into initializers, in place."""
    interface = _interface(model)
    if model.functions:
        _inline(model, account)
    if model.ir_version < FREE_INITIALIZERS:
        # Such a file has to list every initializer among the inputs, and runtimes let nobody override them.
        common.RemoveInitializersFromInputsPass()(model)
    common.TopologicalSortPass()(model)
    before = count(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    account.count("constants lifted", before - count(model))
    return interface


def finish(model: ir.Model, interface: Interface) -> None:
    """Restore what callers see, in place; drop annotations that the rewrites needed and the author never wrote."""
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.type, value.shape = interface.types.get(str(value.name), (value.type, value.shape))
    for node in walk(model.graph):
        for output in node.outputs:
            if not output.is_graph_output():
                output.type, output.shape = interface.annotated.get(str(output.name), (None, None))
    if model.ir_version < FREE_INITIALIZERS:
        common.AddInitializersToInputsPass()(model)


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


def _interface(model: ir.Model) -> Interface:
    values = [*model.graph.inputs, *model.graph.outputs]
    inner = [out for node in walk(model.graph) for out in node.outputs if out.shape is not None]
    return Interface(
        {str(v.name): (v.type, None if v.shape is None else v.shape.copy()) for v in values},
        {str(v.name): (v.type, v.shape) for v in inner},
    )


def _inline(model: ir.Model, account: Account) -> None:
    """Inline every model-local function, or none."""
    functions = len(model.functions)
    try:
        common.InlinePass()(model.clone())  # it raises half-way through, so it is tried first
    except (PassError, PreconditionError, ValueError) as error:
        account.decline(model.graph.name or "model", f"functions are not inlined: {error}")
        return
    common.InlinePass()(model)
    account.count("functions inlined", functions)
