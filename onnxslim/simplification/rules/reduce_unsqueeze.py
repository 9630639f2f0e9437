"""Unsqueeze(Reduce(x over axes, dropped), the same axes) → Reduce(x over axes, kept with size 1); so with a Reshape."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, has_single_use, op, producer
from onnxslim.simplification.rules.view import get_target_dims
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import Number, equal

#: Ops that keep the axes they go over unless ``keepdims`` is 0; the last two go over one, their attribute ``axis``.
REDUCTIONS = (
    *("ReduceMean", "ReduceSum", "ReduceProd", "ReduceMin", "ReduceMax", "ReduceL1", "ReduceL2", "ReduceLogSum"),
    *("ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin"),
)


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Unsqueeze, or a Reshape to the same dimensions."""
    value = node.inputs[0]
    reduction = producer(value, *REDUCTIONS)
    if reduction is None or value is None or reduction.attributes.get_int("keepdims", 1) != 0:
        return None
    before = symbolic_dims(reduction.inputs[0])
    over = _find_axes(reduction, context, before)
    if before is None or over is None:
        return None
    target = get_target_dims(node, context)
    kept = [1 if axis in over else dim for axis, dim in enumerate(before)]
    is_unsqueeze = node.op_type == "Unsqueeze"
    if (resolve_axes(node, context.integers, len(before)) if is_unsqueeze else None) != over and (
        target is None or len(target) != len(kept) or not all(map(equal, target, kept))
    ):
        return "it adds other axes than were dropped" if is_unsqueeze else None
    if not has_single_use(value):
        return f"the result of {reduction.op_type} is read elsewhere"
    attributes = {**reduction.attributes, "keepdims": 1}
    return {node.outputs[0]: op(reduction.op_type, list(reduction.inputs), attributes, name=reduction.name)}


def _find_axes(reduction: ir.Node, context: MatchContext, dims: Sequence[Number] | None) -> list[int] | None:
    """The axes that ``reduction`` goes over, in order; None where they are not named, or only known at run time."""
    if not dims:
        return None
    if reduction.op_type in ("ArgMax", "ArgMin"):
        return [reduction.attributes.get_int("axis", 0) % len(dims)]
    axes = resolve_axes(reduction, context.integers, len(dims))
    return None if axes is None else sorted(axes)


RULE = Rule("dropped axes kept", ("Unsqueeze", "Reshape"), match)
