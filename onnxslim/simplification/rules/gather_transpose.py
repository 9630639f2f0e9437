"""Gather(Transpose(x), i) → Gather(x, i) along the axis that was moved, for one index i; what is left to move follows.

``y[:, -1]`` after a recurrent layer, or one of three packed projections: the rest of the tensor is then never copied.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, has_single_use, op, producer
from onnxslim.simplification.rules.transpose import get_permutation
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Gather; its index need not be constant, but drops the axis."""
    moved, index = node.inputs[0], node.inputs[1]
    transpose = producer(moved, "Transpose")
    perm = None if transpose is None else get_permutation(transpose)
    if moved is None or transpose is None or perm is None or symbolic_dims(index) != []:
        return None
    axis = perm.pop(node.attributes.get_int("axis", 0))
    left = [before - (before > axis) for before in perm]
    picked = op("Gather", [transpose.inputs[0], index], {"axis": axis})
    if left == sorted(left):
        return {node.outputs[0]: picked}
    if not has_single_use(moved):
        return "the result of Transpose is read elsewhere"
    return {node.outputs[0]: op("Transpose", [picked], {"perm": left})}


_CLAIMS = (
    SpeedClaim(
        "one of three columns, moved to the front before it is taken",
        """(float[128,256,3] x) => (float[128,256] y) {
            r = Relu (x) t = Transpose <perm = [2,0,1]> (r) g = Gather <axis = 0> (t, i) y = Relu (g) }""",
        gains=True,
        constants={"i": 1},
    ),
)
RULE = Rule("gathers before transposes", ("Gather",), match, claims=_CLAIMS)
