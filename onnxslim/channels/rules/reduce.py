"""Reduce: channels are kept by what works along other axes, and stay where it works along theirs."""

from __future__ import annotations

from collections.abc import Collection

from onnxslim.channels.node import DeclinedError
from onnxslim.channels.op import Op
from onnxslim.channels.trace import Axis


def pool(op: Op) -> None:
    """Pooling over space: batch and channels are kept."""
    if op.more():
        raise DeclinedError("the positions of its maxima are used")
    op.stay(0, {0: op.axis(0, 0), 1: op.axis(0, 1)})


def reduce(op: Op) -> None:
    """Sum, mean, maximum … over some axes."""
    rank = op.rank(0)
    axes = op.integers(1, "axes")
    if axes is None and op.has(1):
        raise DeclinedError("which axes it reduces is not known")
    gone = {op.positive(a, rank) for a in axes or ()}
    if not gone and not op.integer("noop_with_empty_axes", 0):
        gone = set(range(rank))
    _without(op, gone, op.integer("keepdims", 1))


def arg(op: Op) -> None:
    """ArgMax and ArgMin over one axis."""
    _without(op, {op.positive(op.integer("axis", 0), op.rank(0))}, op.integer("keepdims", 1))


def _without(op: Op, gone: Collection[int], keep: int) -> None:
    averages = op.lossy and op.node.op_type == "ReduceMean"
    result: list[Axis] = []
    for a in range(op.rank(0)):
        if a not in gone:
            result.append(op.axis(0, a))
            continue
        slots = op.axis(0, a)
        if not averages:
            op.pin(slots, f"{op.node.op_type} combines its slots into one")
        if keep:
            result.append(op.still(1))
    op.out(0, result)


def along(op: Op) -> None:
    """Softmax and the like: every slot of the axis depends on every other, so all of them stay."""
    rank = op.rank(0)
    old = op.version < 13 and op.node.op_type in ("Softmax", "LogSoftmax", "Hardmax")
    axis = op.positive(op.integer("axis", 1 if old else -1), rank)
    axes = op.axes(0)
    for a in range(axis, rank) if old else (axis,):
        op.pin(axes[a], f"{op.node.op_type} works along it")
    op.out(0, axes)


def cumulative(op: Op) -> None:
    """CumSum along one axis."""
    axis = op.const(1)
    if axis is None:
        raise DeclinedError("the axis it works along is not known")
    axes = op.axes(0)
    op.pin(axes[op.positive(int(axis), len(axes))], "CumSum works along it")
    op.out(0, axes)


def top_k(op: Op) -> None:
    """The largest along one axis; the others are kept."""
    axes = op.axes(0)
    axis = op.positive(op.integer("axis", -1), len(axes))
    op.pin(axes[axis], "TopK sorts it")
    for k in range(len(op.outputs)):
        op.stay(k, {a: slots for a, slots in enumerate(axes) if a != axis})


def resize(op: Op) -> None:
    """Axes whose size it keeps are kept; those it scales are positions."""
    if op.text("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise DeclinedError("it crops")
    rank = op.rank(0)
    at = [op.positive(a, rank) for a in op.integers(9, "axes") or range(rank)]
    upsample = op.node.op_type == "Upsample" or op.version < 11
    scales = op.node.attributes.get_floats("scales", None) if upsample else None
    if scales is None:
        found = op.const(1 if upsample else 2)
        scales = None if found is None or not found.size else found.tolist()
    sizes = op.numbers(3) if scales is None and op.has(3) else None
    result: dict[int, Axis] = {a: op.axis(0, a) for a in range(rank) if a not in at}
    for e, a in enumerate(at):
        if scales is not None and scales[e] == 1:
            result[a] = op.axis(0, a)
        elif sizes is not None and sizes[e] == op.size(0, a):
            result[a] = op.axis(0, a)
            op.count(3, {e: result[a]})
    op.stay(0, result)


_POOLS = "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool"
_REDUCTIONS = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
"""

RULES = {
    **dict.fromkeys(_POOLS.split(), pool),
    **dict.fromkeys(_REDUCTIONS.split(), reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"), along),
    "CumSum": cumulative,
    "Resize": resize,
    "TopK": top_k,
    "Upsample": resize,
}
