"""Slices:

- Slice(x) that takes everything → x
- Slice(Slice(x, over axes A), over axes B) → one Slice over both, when A and B share no axis
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer
from onnxslim.simplification.symbolic_shapes.inference import lookup_integers, symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import Number, equal, less

#: axis -> (start, end, step)
Cuts = dict[int, tuple[Number, Number, Number]]

#: Exporters write "to the end" as the largest int32 or int64; no dimension is that long.
OPEN_END = 2**31 - 1

#: Opset where starts, ends and axes became inputs, and steps came.
INPUTS_SINCE_OPSET = 10


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The last Slice."""
    source = node.inputs[0]
    dims = symbolic_dims(source)
    cuts = get_cuts(node, context)
    if source is None or dims is None or cuts is None:
        return None
    cuts = {axis: cut for axis, cut in cuts.items() if not _takes_all(*cut, dims[axis])}
    if not cuts:
        return {node.outputs[0]: source}
    inner = producer(source, "Slice")
    if inner is None:
        return None
    if not has_single_use(source):
        return "the result of the Slice before it is read elsewhere"
    before = get_cuts(inner, context)
    if before is None or cuts.keys() & before.keys():
        return "it cuts an axis that the Slice before it cut"
    both = dict(sorted({**before, **cuts}.items()))
    if not all(isinstance(entry, int) for cut in both.values() for entry in cut):
        return "its bounds are only known at run time"
    return {node.outputs[0]: _make_slice(inner.inputs[0], both, context, node.outputs[0])}


def get_cuts(node: ir.Node, context: MatchContext) -> Cuts | None:
    """What the Slice ``node`` takes, by axis, or None when that is only known at run time."""
    dims = symbolic_dims(node.inputs[0])
    if dims is None:
        return None
    columns: list[list[Number] | None] = []
    if context.opset < INPUTS_SINCE_OPSET:
        columns = [list(node.attributes.get_ints(name, ())) for name in ("starts", "ends", "axes")]
        columns[2] = columns[2] or None
    else:
        for index in range(1, 5):
            value = node.inputs[index] if len(node.inputs) > index else None
            array = lookup_integers(value, context.integers)
            if value is not None and array is None:
                return None
            columns.append(None if array is None else list(array.flat))
    starts, ends = columns[0], columns[1]
    if starts is None or ends is None:
        return None
    axes = columns[2] if columns[2] is not None else list(range(len(starts)))
    steps = columns[3] if len(columns) > 3 and columns[3] is not None else [1] * len(starts)
    if not all(isinstance(axis, int) for axis in axes):
        return None
    return {
        int(str(axis)) % len(dims): (start, end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    }


def _takes_all(start: Number, end: Number, step: Number, dim: Number) -> bool:
    to_the_end = less(end, dim) is False or (isinstance(end, int) and end >= OPEN_END)
    return step == 1 and equal(start, 0) is True and to_the_end


def _make_slice(source: ir.Value | None, cuts: Cuts, context: MatchContext, like: ir.Value) -> ir.Value:
    starts, ends, steps = zip(*cuts.values(), strict=True)
    if context.opset < INPUTS_SINCE_OPSET:
        return op("Slice", [source], {"starts": list(starts), "ends": list(ends), "axes": list(cuts)})
    columns = [starts, ends, tuple(cuts)] + ([steps] if any(step != 1 for step in steps) else [])
    return op("Slice", [source, *(const(np.asarray(column, np.int64), like) for column in columns)])


RULE = Rule("slices", ("Slice",), match)
