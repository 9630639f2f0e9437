"""Unsqueeze(Gather(x, i) over axis a, [a]) → Gather(x, [i]) for one index i: the axis was dropped only to come back."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.arithmetic import axes, extent
from onnxslim.simplify.rule import Found, Rule, Scene, const, op, producer, sole


def match(node: ir.Node, scene: Scene) -> Found:
    """The Unsqueeze; its axes are an attribute up to opset 12."""
    value = node.inputs[0]
    gather = producer(value, "Gather")
    dims = extent(node.outputs[0])
    if gather is None or value is None or dims is None:
        return None
    index = constant(gather.inputs[1])
    if index is None or index.ndim:
        return None
    axis = gather.attributes.get_int("axis", 0)
    if axis < 0 or axes(node, scene.integers, len(dims)) != [axis]:
        return None
    if not sole(value):
        return "the result of Gather is read elsewhere"
    one = const(index.reshape(1), gather.inputs[1])
    return {node.outputs[0]: op("Gather", [gather.inputs[0], one], gather.attributes)}


RULE = Rule("gathers", ("Unsqueeze",), match)
