"""ReduceMean(x) over all spatial axes, kept with size 1 → GlobalAveragePool(x), which runtimes quantise and tune."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplify.arithmetic import axes, extent
from onnxslim.simplify.rule import Found, Rule, Scene, op


def match(node: ir.Node, scene: Scene) -> Found:
    """Axes are an attribute up to opset 17 and an input since."""
    dims = extent(node.inputs[0])
    if dims is None or len(dims) not in (4, 5) or node.inputs[0] is None:
        return None
    over = axes(node, scene.integers, len(dims))
    if over is None or sorted(over) != list(range(2, len(dims))):
        return None
    if not node.attributes.get_int("keepdims", 1):
        return "it drops the spatial axes: a Reshape would have to follow"
    if node.inputs[0].dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
        return "runtimes have a GlobalAveragePool for float32 and float16 only"
    return {node.outputs[0]: op("GlobalAveragePool", [node.inputs[0]])}


RULE = Rule("global pools", ("ReduceMean",), match, rounds=True)
