"""Squeeze(Transpose(view(x))) → Transpose(Reshape(x)): an axis of size 1 that was carried along is never made.

PyTorch's attention moves its three projections apart with ``unsqueeze(0).transpose(0, -2).squeeze(-2)``; a Gather takes each
then, and no Transpose is left (:mod:`gather_transpose`). One that stays is slower where rows move and their elements do not.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer
from onnxslim.simplification.rules.transpose import get_permutation
from onnxslim.simplification.rules.view import make_reshape_target
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Squeeze; its axes are an attribute up to opset 12."""
    moved = node.inputs[0]
    transpose = producer(moved, "Transpose")
    viewed = None if transpose is None else transpose.inputs[0]
    view = producer(viewed, "Reshape", "Unsqueeze")
    dims = symbolic_dims(viewed)
    perm = None if transpose is None else get_permutation(transpose)
    if moved is None or viewed is None or view is None or dims is None or perm is None:
        return None
    over = resolve_axes(node, context.integers, len(dims))
    if over is None:
        return None
    gone = {perm[axis] for axis in over}
    if any(dims[axis] != 1 for axis in gone):
        return "a dimension that it drops is not known to be 1"
    if not (has_single_use(moved) and has_single_use(viewed)):
        return "what it squeezes is read elsewhere"
    left = [axis for axis in range(len(dims)) if axis not in gone]
    target = make_reshape_target([dims[axis] for axis in left], symbolic_dims(view.inputs[0]))
    if target is None:
        return "two of the dimensions are only known at run time"
    moves = [left.index(axis) for axis in perm if axis in left]
    if context.weighs_speed and moves[-1:] == [len(moves) - 1] and not _is_read_by_gathers(node.outputs[0]):
        return "slower: the runtime moves whole rows faster with the axis of size 1 among them"
    flat = op("Reshape", [view.inputs[0], const(target, viewed)])
    return {node.outputs[0]: op("Transpose", [flat], {"perm": moves})}


def _is_read_by_gathers(value: ir.Value) -> bool:
    """Whether all that reads ``value`` takes one index of it, so that nothing has to be moved."""
    indices = [reader.inputs[1] for reader in value.consumers() if reader.op_type == "Gather" and not reader.domain]
    all_gather = len(indices) == len(value.consumers()) and not value.is_graph_output()
    return all_gather and all(symbolic_dims(index) == [] for index in indices)


_CLAIMS = (
    SpeedClaim(
        "packed projections moved apart, all read at once",
        """(float[512,4,192] x) => (float[3,512,4,64] y) {
            r = Reshape (x, parts) u = Unsqueeze (r, first) t = Transpose <perm = [3,1,2,0,4]> (u)
            q = Squeeze (t, last) y = Relu (q) }""",
        gains=False,
        constants={"parts": [512, 4, 3, 64], "first": [0], "last": [3]},
    ),
)
RULE = Rule("squeezed transposes", ("Squeeze",), match, claims=_CLAIMS)
