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

from onnxslim.channels.op import Op
from onnxslim.channels.record import Element
from onnxslim.channels.trace import Axis, Flat, carries

#: Sizes are few; anything larger is data.
MANY = 64

Elements = list[Element]


def follow(op: Op) -> Elements | None:
    """The elements of output 0, or None when this op is not shape arithmetic that can be followed."""
    rule = _FOLLOW.get(op.node.op_type)
    if rule is None or op.node.domain not in ("", "ai.onnx") or None in [op.operands[i] for i in op.given()]:
        return None
    return rule(op)


def elements(op: Op, i: int) -> Elements | None:
    """The elements of input ``i``: followed so far, or a small integer constant's."""
    if i in op.elements:
        return op.elements[i]
    array = op.const(i)
    if array is None or array.size > MANY or array.ndim > 1 or not np.issubdtype(array.dtype, np.integer):
        return None
    return [Element(int(v)) for v in np.ravel(array)]


def _shape(op: Op) -> Elements | None:
    axes = op.axes(0)
    chosen = axes[op.integer("start", 0) : op.integer("end", len(axes))]
    return [_extent(axis) for axis in chosen]


def _extent(axis: Axis) -> Element:
    if isinstance(axis, str):
        return Element(axis, (axis.inner,) if isinstance(axis, Flat) else ())
    return Element(len(axis), (axis,) if carries(axis) else ())


def _same(op: Op) -> Elements | None:
    return elements(op, 0)


def _cast(op: Op) -> Elements | None:
    whole = op.integer("to", 0) in (ir.DataType.INT32, ir.DataType.INT64)
    return elements(op, 0) if whole else None  # real numbers are computed with, they size nothing


def _gather(op: Op) -> Elements | None:
    data, indices = elements(op, 0), op.const(1)
    if data is None or indices is None or op.rank(0) != 1:
        return None
    return [data[int(i)] for i in np.ravel(indices)]


def _slice(op: Op) -> Elements | None:
    data, starts, ends = elements(op, 0), op.integers(1, "starts"), op.integers(2, "ends")
    steps = op.integers(4) if op.has(4) else [1]
    if data is None or starts is None or ends is None or steps is None or op.rank(0) != 1:
        return None
    return data[starts[0] : ends[0] : steps[0]]


def _concat(op: Op) -> Elements | None:
    parts = [elements(op, i) for i in op.given()]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or any(op.rank(i) != 1 for i in op.given()):
        return None
    return [element for part in known for element in part]


def _arithmetic(op: Op) -> Elements | None:
    left, right = elements(op, 0), elements(op, 1)
    if left is None or right is None or len(op.given()) != 2 or max(op.rank(0), op.rank(1)) > 1:
        return None
    length = max(len(left), len(right))
    if {len(left), len(right)} - {1, length}:
        return None
    pairs = zip(left * (length // len(left)), right * (length // len(right)), strict=True)
    return [_computed(op.node.op_type, one, two) for one, two in pairs]


def _computed(kind: str, one: Element, two: Element) -> Element:
    sources = (*one.sources, *two.sources)
    # Sizes are not negative, for which ONNX's truncating division and Python's agree.
    if isinstance(one.value, int) and isinstance(two.value, int) and (kind not in ("Div", "Mod") or two.value > 0):
        return Element(_COMPUTE[kind](one.value, two.value), sources)
    return Element(f"{kind}({one.value}, {two.value})", sources)


_COMPUTE: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Div": operator.floordiv,
    "Max": max,
    "Min": min,
    "Mod": operator.mod,
    "Mul": operator.mul,
    "Sub": operator.sub,
}

_FOLLOW: dict[str, Callable[[Op], Elements | None]] = {
    **dict.fromkeys(("Identity", "Squeeze", "Unsqueeze"), _same),
    "Cast": _cast,
    **dict.fromkeys(_COMPUTE, _arithmetic),
    "Concat": _concat,
    "Gather": _gather,
    "Shape": _shape,
    "Slice": _slice,
}
