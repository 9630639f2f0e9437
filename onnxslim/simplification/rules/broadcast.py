"""op(a, Expand(x, s)) → op(a, x) for an op that broadcasts by itself, when the result keeps its dimensions.

Exporters write ``masked_fill``, ``full_like`` and ``a * scalar`` with the scalar blown up to a tensor first.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op, producer
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import Number, equal

#: Ops whose inputs are all broadcast to one another.
BROADCASTING_OPS = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "And", "Or", "Xor"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
)


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """One expanded operand at a time."""
    after = symbolic_dims(node.outputs[0])
    for at, value in enumerate(node.inputs):
        expand = producer(value, "Expand")
        if expand is None or after is None:
            continue
        inputs = [*node.inputs[:at], expand.inputs[0], *node.inputs[at + 1 :]]
        if _can_broadcast_to(after, [dims for dims in map(symbolic_dims, inputs) if dims is not None]):
            return {node.outputs[0]: op(node.op_type, inputs, node.attributes)}
        return "nothing else is known to have the dimensions that are asked for"
    return None


def _can_broadcast_to(after: Sequence[Number], operands: Sequence[Sequence[Number]]) -> bool:
    """Whether tensors of these dimensions, and perhaps others that fit, are broadcast to ``after``."""
    for back in range(1, len(after) + 1):
        present = [dims[-back] for dims in operands if len(dims) >= back]
        if not present or not (after[-back] == 1 or any(equal(dim, after[-back]) for dim in present)):
            return False
    return True


RULE = Rule("expanded operands", BROADCASTING_OPS, match)
