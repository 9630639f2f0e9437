"""x + 0, x - 0, x · 1, x / 1, xʳ with r = 1 → x, when the other operand does not broadcast x to more.

It may be a constant, or zeros or ones that are made for the sizes at hand (:mod:`onnxslim.simplification.constant_fill`).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.constant_fill import is_filled_with
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims

#: op type -> (the neutral number, whether it may stand on either side)
NEUTRAL_ELEMENTS = {"Add": (0, True), "Sub": (0, False), "Mul": (1, True), "Div": (1, False), "Pow": (1, False)}


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """Either operand where the op is commutative."""
    neutral, either = NEUTRAL_ELEMENTS[node.op_type]
    for at in (1, 0) if either else (1,):
        value, other = node.inputs[at], node.inputs[1 - at]
        if other is None or not is_filled_with(value, neutral):
            continue
        before, after = symbolic_dims(other), symbolic_dims(node.outputs[0])
        if before is not None and before == after:
            return {node.outputs[0]: other}
        return "it may broadcast"
    return None


RULE = Rule("neutral", tuple(NEUTRAL_ELEMENTS), match)
