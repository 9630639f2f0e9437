"""ReduceMean(x) over all spatial axes, kept with size 1 → GlobalAveragePool(x), which runtimes quantise and tune."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """Axes are an attribute up to opset 17 and an input since."""
    dims = symbolic_dims(node.inputs[0])
    if dims is None or len(dims) not in (4, 5) or node.inputs[0] is None:
        return None
    over = resolve_axes(node, context.integers, len(dims))
    if over is None or sorted(over) != list(range(2, len(dims))):
        return None
    if not node.attributes.get_int("keepdims", 1):
        return "it drops the spatial axes: a Reshape would have to follow"
    if node.inputs[0].dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return "runtimes have a GlobalAveragePool for float32 and float16 only"
    return {node.outputs[0]: op("GlobalAveragePool", [node.inputs[0]])}


RULE = Rule("global pools", ("ReduceMean",), match, rounds=True)
