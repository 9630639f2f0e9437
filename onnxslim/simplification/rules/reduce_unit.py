"""A mean, sum, product, minimum or maximum over axes of size 1 only drops them: Reduce(x) → x, or Reshape(x)."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, op
from onnxslim.simplification.rules.view import make_reshape_target
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims

REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceProd", "ReduceMin", "ReduceMax")


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """Axes are an attribute, or an input since opset 13 (ReduceSum) or 18."""
    dims, after = symbolic_dims(node.inputs[0]), symbolic_dims(node.outputs[0])
    if dims is None or after is None or node.inputs[0] is None:
        return None
    over = resolve_axes(node, context.integers, len(dims))
    if not over or any(dims[axis] != 1 for axis in over):
        return None
    if node.attributes.get_int("keepdims", 1):
        return {node.outputs[0]: node.inputs[0]}
    target = make_reshape_target(after, dims)
    if target is None:
        return "two of the dimensions are only known at run time"
    return {node.outputs[0]: op("Reshape", [node.inputs[0], const(target, node.outputs[0])])}


RULE = Rule("reductions of one", REDUCTIONS, match)
