"""Concatenations and splits:

- Concat(x) → x;  Split(x) into one part → x
- Concat(…, Concat(a, b), …) along one axis → Concat(…, a, b, …)
- Concat(Split(x)) of all parts in order, along the axis they were split → x
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, has_single_use, op, producer
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The outer Concat, or the Split."""
    first = node.inputs[0]
    if first is None:
        return None
    if node.op_type == "Split":
        return {node.outputs[0]: first} if len(node.outputs) == 1 else None
    if len(node.inputs) == 1:
        return {node.outputs[0]: first}
    axis = _resolve_axis(node, node.outputs[0])
    split = producer(first, "Split")
    if split is not None and tuple(node.inputs) == tuple(split.outputs) and split.inputs[0] is not None:
        if axis is not None and _resolve_axis(split, split.inputs[0]) == axis:
            return {node.outputs[0]: split.inputs[0]}
        return "it does not join along the axis that was split"
    flat: list[ir.Value | None] = []
    for value in node.inputs:
        inner = producer(value, "Concat")
        if inner is None or value is None or axis is None or not has_single_use(value):
            flat.append(value)
        else:
            flat += inner.inputs if _resolve_axis(inner, value) == axis else [value]
    if len(flat) == len(node.inputs):
        return None
    return {node.outputs[0]: op("Concat", flat, node.attributes)}


def _resolve_axis(node: ir.Node, shaped: ir.Value) -> int | None:
    """The axis counted from the front; ``shaped`` has the rank."""
    axis = node.attributes.get_int("axis", 0)
    dims = symbolic_dims(shaped)
    if axis >= 0:
        return axis
    return None if dims is None else axis + len(dims)


_CLAIMS = (
    SpeedClaim(
        "a Concat of a Concat",
        """(float[1,32,14,14] x) => (float[1,96,14,14] y) {
            a = Relu (x) b = Sigmoid (x) c = Tanh (x) d = Concat <axis = 1> (a, b) y = Concat <axis = 1> (d, c) }""",
        gains=True,
    ),
)
RULE = Rule("concatenations", ("Concat", "Split"), match, claims=_CLAIMS)
