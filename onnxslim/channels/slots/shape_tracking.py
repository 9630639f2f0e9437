"""Where sizes flow to: small integer tensors computed from Shape, followed element by element.

An exporter that writes ``x.reshape(x.shape[0], -1, 64)`` leaves Shape, Gather and Concat nodes. Their elements are
known where the size is, so that rules can read them like constants. Removing channels changes what Shape returns, so
every element also remembers the axes behind it: a rule that sizes an output (Reshape, Expand, Resize) takes an element
over with :meth:`Op.count`; whatever else reads a size pins those axes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.rule_records import ShapeElement
from onnxslim.channels.slots.slot_tracing import Axis, FlattenedAxis, has_channels

#: Sizes are few; anything larger is data.
MAX_SHAPE_ELEMENTS = 64

ShapeElements = list[ShapeElement]


def track_shape(op: Op) -> ShapeElements | None:
    """The elements of output 0, or None when this op is not shape arithmetic that can be followed."""
    tracker = _TRACKERS.get(op.node.op_type)
    if tracker is None or op.node.domain or None in [op.operands[i] for i in op.given_inputs()]:
        return None
    return tracker(op)


def read_elements(op: Op, i: int) -> ShapeElements | None:
    """The elements of input ``i``: followed so far, or a small integer constant's."""
    if i in op.shape_elements:
        return op.shape_elements[i]
    array = op.const(i)
    if array is None or array.size > MAX_SHAPE_ELEMENTS or array.ndim > 1 or not np.issubdtype(array.dtype, np.integer):
        return None
    return [ShapeElement(int(v)) for v in np.ravel(array)]


def _shape(op: Op) -> ShapeElements | None:
    axes = op.axes(0)
    chosen = axes[op.get_int("start", 0) : op.get_int("end", len(axes))]
    return [_axis_element(axis) for axis in chosen]


def _axis_element(axis: Axis) -> ShapeElement:
    if isinstance(axis, str):
        return ShapeElement(axis, (axis.inner,) if isinstance(axis, FlattenedAxis) else ())
    return ShapeElement(len(axis), (axis,) if has_channels(axis) else ())


def _cast(op: Op) -> ShapeElements | None:
    is_integer = op.get_int("to", 0) in (ir.DataType.INT32, ir.DataType.INT64)
    return read_elements(op, 0) if is_integer else None  # real numbers are computed with, they size nothing


def _gather(op: Op) -> ShapeElements | None:
    data, indices = read_elements(op, 0), op.const(1)
    if data is None or indices is None or op.rank(0) != 1:
        return None
    return [data[int(i)] for i in np.ravel(indices)]


def _slice(op: Op) -> ShapeElements | None:
    data, starts, ends = read_elements(op, 0), op.read_ints(1, "starts"), op.read_ints(2, "ends")
    steps = op.read_ints(4) if op.has_input(4) else [1]
    if data is None or starts is None or ends is None or steps is None or op.rank(0) != 1:
        return None
    return data[starts[0] : ends[0] : steps[0]]


def _concat(op: Op) -> ShapeElements | None:
    parts = [read_elements(op, i) for i in op.given_inputs()]
    known_parts = [part for part in parts if part is not None]
    if len(known_parts) < len(parts) or any(op.rank(i) != 1 for i in op.given_inputs()):
        return None
    return [element for part in known_parts for element in part]


def _arithmetic(op: Op) -> ShapeElements | None:
    left, right = read_elements(op, 0), read_elements(op, 1)
    if left is None or right is None or len(op.given_inputs()) != 2 or max(op.rank(0), op.rank(1)) > 1:
        return None
    length = max(len(left), len(right))
    if {len(left), len(right)} - {1, length}:
        return None
    pairs = zip(left * (length // len(left)), right * (length // len(right)), strict=True)
    return [_compute_element(op.node.op_type, left_element, right_element) for left_element, right_element in pairs]


def _compute_element(op_type: str, left: ShapeElement, right: ShapeElement) -> ShapeElement:
    sources = (*left.sources, *right.sources)
    # Sizes are not negative, for which ONNX's truncating division and Python's agree.
    if isinstance(left.value, int) and isinstance(right.value, int) and (op_type not in ("Div", "Mod") or right.value > 0):
        return ShapeElement(_ARITHMETIC[op_type](left.value, right.value), sources)
    return ShapeElement(f"{op_type}({left.value}, {right.value})", sources)


_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Div": operator.floordiv,
    "Max": max,
    "Min": min,
    "Mod": operator.mod,
    "Mul": operator.mul,
    "Sub": operator.sub,
}

_TRACKERS: dict[str, Callable[[Op], ShapeElements | None]] = {
    **dict.fromkeys(("Identity", "Squeeze", "Unsqueeze"), lambda op: read_elements(op, 0)),
    "Cast": _cast,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    "Concat": _concat,
    "Gather": _gather,
    "Shape": _shape,
    "Slice": _slice,
}
