"""Reduce: channels are kept by what works along other axes, and stay where it works along theirs."""

from __future__ import annotations

from collections.abc import Collection

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.slot_tracing import Axis


def pool(op: Op) -> None:
    """Pooling over space: batch and channels are kept."""
    if op.has_extra_outputs():
        raise DeclinedError("the positions of its maxima are used")
    op.fill_output(0, {0: op.axis(0, 0), 1: op.axis(0, 1)})


def reduce(op: Op) -> None:
    """Sum, mean, maximum … over some axes."""
    rank = op.rank(0)
    axes = op.read_ints(1, "axes")
    if axes is None and op.has_input(1):
        raise DeclinedError("which axes it reduces is not known")
    reduced = {op.normalize_axis(a, rank) for a in axes or ()}
    if not reduced and not op.get_int("noop_with_empty_axes", 0):
        reduced = set(range(rank))
    _reduce_axes(op, reduced, op.get_int("keepdims", 1))


def arg_reduce(op: Op) -> None:
    """ArgMax and ArgMin over one axis."""
    _reduce_axes(op, {op.normalize_axis(op.get_int("axis", 0), op.rank(0))}, op.get_int("keepdims", 1))


def _reduce_axes(op: Op, reduced: Collection[int], keepdims: int) -> None:
    averages = op.lossy and op.node.op_type == "ReduceMean"
    result: list[Axis] = []
    for a in range(op.rank(0)):
        if a not in reduced:
            result.append(op.axis(0, a))
            continue
        slots = op.axis(0, a)
        if not averages:
            op.pin(slots, f"{op.node.op_type} combines its slots into one")
        if keepdims:
            result.append(op.fixed_slots(1))
    op.set_output(0, result)


def softmax_like(op: Op) -> None:
    """Softmax and the like: every slot of the axis depends on every other, so all of them stay."""
    rank = op.rank(0)
    flattens = op.opset < 13 and op.node.op_type in ("Softmax", "LogSoftmax", "Hardmax")
    axis = op.normalize_axis(op.get_int("axis", 1 if flattens else -1), rank)
    axes = op.axes(0)
    for a in range(axis, rank) if flattens else (axis,):
        op.pin(axes[a], f"{op.node.op_type} works along it")
    op.set_output(0, axes)


def cumsum(op: Op) -> None:
    """CumSum along one axis."""
    axis = op.const(1)
    if axis is None:
        raise DeclinedError("the axis it works along is not known")
    axes = op.axes(0)
    op.pin(axes[op.normalize_axis(int(axis), len(axes))], "CumSum works along it")
    op.set_output(0, axes)


def top_k(op: Op) -> None:
    """The largest along one axis; the others are kept."""
    axes = op.axes(0)
    axis = op.normalize_axis(op.get_int("axis", -1), len(axes))
    op.pin(axes[axis], "TopK sorts it")
    for k in range(len(op.outputs)):
        op.fill_output(k, {a: slots for a, slots in enumerate(axes) if a != axis})


def resize(op: Op) -> None:
    """Axes whose size it keeps are kept; those it scales are positions."""
    if op.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        raise DeclinedError("it crops")
    rank = op.rank(0)
    resized_axes = [op.normalize_axis(a, rank) for a in op.read_ints(9, "axes") or range(rank)]
    upsample = op.node.op_type == "Upsample" or op.opset < 11
    scales = op.node.attributes.get_floats("scales", None) if upsample else None
    if scales is None:
        scales_input = op.const(1 if upsample else 2)
        scales = None if scales_input is None or not scales_input.size else scales_input.tolist()
    sizes = op.read_symbolic_ints(3) if scales is None and op.has_input(3) else None
    result: dict[int, Axis] = {a: op.axis(0, a) for a in range(rank) if a not in resized_axes}
    for e, a in enumerate(resized_axes):
        if scales is not None and scales[e] == 1:
            result[a] = op.axis(0, a)
        elif sizes is not None and sizes[e] == op.size(0, a):
            result[a] = op.axis(0, a)
            op.record_size(3, {e: result[a]})
    op.fill_output(0, result)


_POOLS = "AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool"
_REDUCTIONS = """
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
"""

RULES = {
    **dict.fromkeys(_POOLS.split(), pool),
    **dict.fromkeys(_REDUCTIONS.split(), reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"), softmax_like),
    "CumSum": cumsum,
    "Resize": resize,
    "TopK": top_k,
    "Upsample": resize,
}
