"""x + 0, x - 0, x · 1, x / 1, xʳ with r = 1 → x, when the constant does not broadcast x to more."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import constant, tensor
from onnxslim.simplify.arithmetic import extent
from onnxslim.simplify.rule import Found, Rule, Scene

#: op type -> (the neutral constant, whether it may stand on either side)
NEUTRAL = {"Add": (0, True), "Sub": (0, False), "Mul": (1, True), "Div": (1, False), "Pow": (1, False)}


def match(node: ir.Node, scene: Scene) -> Found:
    """The constant is looked at only when it is small or repeats one number."""
    neutral, either = NEUTRAL[node.op_type]
    for at in (1, 0) if either else (1,):
        value, other = node.inputs[at], node.inputs[1 - at]
        if tensor(value) is None or other is None:
            continue
        array = constant(value)
        if array is None or array.dtype.kind not in "fiu" or not array.size or array.flat[0] != neutral:
            continue
        if not (array == neutral).all():
            continue
        before, after = extent(other), extent(node.outputs[0])
        if before is not None and before == after:
            return {node.outputs[0]: other}
        return "it may broadcast"
    return None


RULE = Rule("neutral", tuple(NEUTRAL), match)
