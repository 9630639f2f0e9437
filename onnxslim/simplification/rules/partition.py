"""Slice(x, a:b), Slice(x, b:c), … along one axis → Split(x), when together they are all of x, each element once.

TorchScript exports ``chunk`` this way, and ``roll`` cuts a tensor in two to join it the other way round.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule
from onnxslim.simplification.rules.sequence import make_split
from onnxslim.simplification.rules.slice import get_cuts
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The first of the Slices: the Split takes its place."""
    source = node.inputs[0]
    dims = symbolic_dims(source)
    own_range = _get_range(node, context)
    if source is None or dims is None or own_range is None:
        return None
    axis = own_range[0]
    parts: list[tuple[int, int, ir.Node]] = []
    for reader in source.consumers():
        reader_range = _get_range(reader, context) if reader.op_type == "Slice" and not reader.domain else None
        reads_source = reader.graph is node.graph and reader.inputs[0] is source
        if reader_range is not None and reader_range[0] == axis and reads_source:
            parts.append((reader_range[1], reader_range[2], reader))
    parts.sort(key=lambda part: part[:2])
    ends = [end for _, end, _ in parts]
    if len(parts) < 2 or [start for start, _, _ in parts] != [0, *ends[:-1]] or ends[-1] != dims[axis]:
        return None
    readers = {reader for _, _, reader in parts}
    if node.graph is None or next(other for other in node.graph if other in readers) is not node:
        return None  # its turn comes
    pieces = make_split(source, axis, [end - start for start, end, _ in parts], context, node.outputs[0])
    return {reader.outputs[0]: piece for (_, _, reader), piece in zip(parts, pieces, strict=True)}


def _get_range(node: ir.Node, context: MatchContext) -> tuple[int, int, int] | None:
    """(axis, start, end) of a Slice that takes a part of one axis whose length is known, and not nothing."""
    cuts, dims = get_cuts(node, context), symbolic_dims(node.inputs[0])
    if cuts is None or dims is None or len(cuts) != 1:
        return None
    ((axis, cut),) = cuts.items()
    length = dims[axis]
    if not isinstance(length, int) or not all(isinstance(entry, int) for entry in cut):
        return None
    start, end, step = slice(*(int(str(entry)) for entry in cut)).indices(length)
    return (axis, start, end) if step == 1 and start < end else None


_CLAIMS = (
    SpeedClaim(
        "two halves of the last axis",
        """(float[1,128,256] x) => (float[1,128,128] y) {
            r = Relu (x) a = Slice (r, zero, half, two) b = Slice (r, half, all, two) c = Sigmoid (b) y = Mul (a, c) }""",
        gains=True,
        constants={"zero": [0], "half": [128], "all": [256], "two": [2]},
    ),
)
RULE = Rule("slices that part", ("Slice",), match, claims=_CLAIMS)
