"""x + 0, x - 0, x · 1, x / 1, xʳ with r = 1 → x, when the other operand does not broadcast x to more.

It may be a constant, or zeros or ones that are made for the sizes at hand (:mod:`onnxslim.simplify.filled`).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplify.arithmetic import extent
from onnxslim.simplify.filled import filled
from onnxslim.simplify.rule import Found, Rule, Scene

#: op type -> (the neutral number, whether it may stand on either side)
NEUTRAL = {"Add": (0, True), "Sub": (0, False), "Mul": (1, True), "Div": (1, False), "Pow": (1, False)}


def match(node: ir.Node, scene: Scene) -> Found:
    """Either operand where the op is commutative."""
    neutral, either = NEUTRAL[node.op_type]
    for at in (1, 0) if either else (1,):
        value, other = node.inputs[at], node.inputs[1 - at]
        if other is None or not filled(value, neutral):
            continue
        before, after = extent(other), extent(node.outputs[0])
        if before is not None and before == after:
            return {node.outputs[0]: other}
        return "it may broadcast"
    return None


RULE = Rule("neutral", tuple(NEUTRAL), match)
