"""op(a, Expand(x, s)) → op(a, x) for an op that broadcasts by itself, when the result keeps its dimensions.

Exporters write ``masked_fill``, ``full_like`` and ``a * scalar`` with the scalar blown up to a tensor first.

Broadcasting works along stretches of the innermost axes, and short ones are slow: of a constant, which the runtime blows up
once when it loads the model, and where the blown-up tensor serves several readers or is made for another one anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, op, producer
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import Number, equal

#: Ops whose inputs are all broadcast to one another.
BROADCASTING_OPS = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "And", "Or", "Xor"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"),
)

#: Elements of a stretch below which broadcasting is slower: than reading a constant of the full size; than an Expand that is
#: made anyway; than one Expand for all of three readers or more.
_MIN_CONSTANT_STRETCH, _MIN_KEPT_STRETCH, _MIN_SHARED_STRETCH = 200, 32, 16


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """One expanded operand at a time."""
    after = symbolic_dims(node.outputs[0])
    for at, value in enumerate(node.inputs):
        expand = producer(value, "Expand")
        if expand is None or after is None:
            continue
        inputs = [*node.inputs[:at], expand.inputs[0], *node.inputs[at + 1 :]]
        if _can_broadcast_to(after, [dims for dims in map(symbolic_dims, inputs) if dims is not None]):
            loss = _find_loss(expand) if context.weighs_speed else None
            return loss or {node.outputs[0]: op(node.op_type, inputs, node.attributes)}
        return "nothing else is known to have the dimensions that are asked for"
    return None


def _can_broadcast_to(after: Sequence[Number], operands: Sequence[Sequence[Number]]) -> bool:
    """Whether tensors of these dimensions, and perhaps others that fit, are broadcast to ``after``."""
    for back in range(1, len(after) + 1):
        present = [dims[-back] for dims in operands if len(dims) >= back]
        if not present or not (after[-back] == 1 or any(equal(dim, after[-back]) for dim in present)):
            return False
    return True


def _find_loss(expand: ir.Node) -> str | None:
    """Why its readers would be slower if they broadcast what ``expand`` takes."""
    stretch = _find_stretch(expand)
    if stretch is None:
        return None
    readers = expand.outputs[0].consumers()
    is_kept = expand.outputs[0].is_graph_output() or any(r.op_type not in BROADCASTING_OPS or r.domain for r in readers)
    if all(get_const_array(value) is not None for value in expand.inputs):
        is_slower = stretch < _MIN_CONSTANT_STRETCH
    else:
        is_slower = (is_kept and stretch < _MIN_KEPT_STRETCH) or (len(set(readers)) > 2 and stretch < _MIN_SHARED_STRETCH)
    return f"slower: it would be broadcast along stretches of {stretch} elements" if is_slower else None


def _find_stretch(expand: ir.Node) -> int | None:
    """How many elements are broadcast, or read in a row, at a time; None of a scalar, and where that is not known."""
    before, after = symbolic_dims(expand.inputs[0]), symbolic_dims(expand.outputs[0])
    if before is None or after is None:
        return None
    stretch, kinds = 1, set[bool]()
    for back in range(1, len(after) + 1):
        size = after[-back]
        if not isinstance(size, int):
            return None
        if size == 1:
            continue
        kinds.add(len(before) < back or before[-back] == 1)
        if len(kinds) > 1:
            return stretch
        stretch *= size
    return None


_CLAIMS = (
    SpeedClaim(
        "a gate of one number a channel, blown up to 28x28",
        "(float[1,64,28,28] x) => (float[1,64,28,28] y) { g = GlobalAveragePool (x) e = Expand (g, s) y = Mul (x, e) }",
        gains=True,
        constants={"s": [1, 64, 28, 28]},
    ),
    SpeedClaim(
        "maxima of rows of 64, blown up",
        "(float[1,4,196,64] x) => (float[1,4,196,64] y) { g = ReduceMax (x, last) e = Expand (g, s) y = Sub (x, e) }",
        gains=True,
        constants={"last": [3], "s": [1, 4, 196, 64]},
    ),
    SpeedClaim(
        "a constant row of 28, blown up to an image",
        "(float[1,64,28,28] x) => (float[1,64,28,28] y) { e = Expand (c, s) y = Mul (x, e) }",
        gains=False,
        constants={"c": (28,), "s": [1, 64, 28, 28]},
    ),
    SpeedClaim(
        "maxima of rows of 4, blown up for three readers",
        """(float[1,64,196,4] x) => (float[1,64,196,4] y) {
            g = ReduceMax (x, last) e = Expand (g, s) a = Sub (x, e) b = Mul (a, e) y = Add (b, e) }""",
        gains=False,
        constants={"last": [3], "s": [1, 64, 196, 4]},
    ),
)
RULE = Rule("expanded operands", BROADCASTING_OPS, match, claims=_CLAIMS)
