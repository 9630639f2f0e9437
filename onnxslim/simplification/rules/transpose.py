"""Transposes:

- Transpose(x) by the identity → x
- Transpose(Transpose(x, p), q) → Transpose(x, p∘q)
- Transpose(x) that only moves axes of size 1 → Reshape(x), which copies nothing and meets other views
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, op, producer
from onnxslim.simplification.rules.view import make_reshape_target
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The last Transpose."""
    source = node.inputs[0]
    perm = get_permutation(node)
    if source is None or perm is None:
        return None
    if perm == sorted(perm):
        return {node.outputs[0]: source}
    inner = producer(source, "Transpose")
    if inner is None:
        return _make_view(node, source, perm)
    before = get_permutation(inner)
    if before is None or len(before) != len(perm):
        return None
    return {node.outputs[0]: op("Transpose", [inner.inputs[0]], {"perm": [before[axis] for axis in perm]})}


def _make_view(node: ir.Node, source: ir.Value, perm: list[int]) -> MatchResult:
    dims = symbolic_dims(source)
    if dims is None or not any(dim == 1 for dim in dims):
        return None
    long = [axis for axis in perm if dims[axis] != 1]
    target = make_reshape_target([dims[axis] for axis in perm], dims) if long == sorted(long) else None
    return None if target is None else {node.outputs[0]: op("Reshape", [source, const(target, node.outputs[0])])}


def get_permutation(node: ir.Node) -> list[int] | None:
    """``perm``; without one, the axes in reverse."""
    if "perm" in node.attributes:
        return list(node.attributes.get_ints("perm"))
    dims = symbolic_dims(node.inputs[0])
    return None if dims is None else list(reversed(range(len(dims))))


_CLAIMS = (
    SpeedClaim(
        "two Transposes, of which the first is read elsewhere",
        """(float[1,64,28,28] x) => (float[1,28,28,64] y) {
            r = Relu (x) a = Transpose <perm = [0,2,3,1]> (r) b = Transpose <perm = [0,2,1,3]> (a) y = Add (a, b) }""",
        gains=True,
    ),
    SpeedClaim(
        "a Transpose that only moves axes of size 1, between convolutions",
        """(float[1,64,128,1] x) => (float[1,64,1,128] y) {
            a = Conv (x, w) t = Transpose <perm = [0,1,3,2]> (a) y = Conv (t, w) }""",
        gains=True,
        constants={"w": (64, 64, 1, 1)},
    ),
)
RULE = Rule("transposes", ("Transpose",), match, claims=_CLAIMS)
