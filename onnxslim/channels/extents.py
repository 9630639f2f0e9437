"""Where sizes flow to: small integer tensors computed from Shape, followed element by element.

An exporter that writes ``x.reshape(x.shape[0], -1, 64)`` leaves Shape, Gather and Concat nodes. Removing channels
changes what Shape returns, so every element remembers the axes whose sizes went into it. A rule that sizes an output
(Reshape, Expand, Resize) takes an element over with :meth:`Op.count`; whatever else reads a size pins the axes behind
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from onnxslim.channels.op import Op

#: For each element of a flattened integer tensor the axes (slots) whose sizes it was computed from.
Extents = list[tuple[np.ndarray, ...]]


def follow(op: Op, extents: Mapping[int, Extents]) -> Extents | None:
    """What the elements of output 0 depend on, or None when this op is not shape arithmetic that can be followed.

    Args:
        op: The node.
        extents: By input position, for the inputs that depend on some size.
    """
    rule = _FOLLOW.get(op.node.op_type)
    return None if rule is None or op.node.domain not in ("", "ai.onnx") else rule(op, extents)


def of_shape(op: Op) -> Extents:
    """What the elements of a Shape node's output depend on."""
    axes = op.axes(0)
    chosen = axes[op.integer("start", 0) : op.integer("end", len(axes))]
    return [(slots,) if slots is not None and slots.any() else () for slots in chosen]


def _same(op: Op, extents: Mapping[int, Extents]) -> Extents | None:
    return extents.get(0)


def _gather(op: Op, extents: Mapping[int, Extents]) -> Extents | None:
    data, indices = extents.get(0), op.const(1)
    if data is None or indices is None or op.rank(0) != 1:
        return None
    return [data[int(i)] for i in np.ravel(indices)]


def _slice(op: Op, extents: Mapping[int, Extents]) -> Extents | None:
    starts, ends = op.integers("starts", 1), op.integers("ends", 2)
    steps = op.integers("steps", 4) or ([1] if not op.has(4) else None)
    if 0 not in extents or starts is None or ends is None or steps is None or op.rank(0) != 1:
        return None
    return extents[0][starts[0] : ends[0] : steps[0]]


def _concat(op: Op, extents: Mapping[int, Extents]) -> Extents | None:
    result: Extents = []
    for i in op.given():
        size = op.size(i, 0) if op.rank(i) == 1 else None
        if size is None:
            return None
        result += extents.get(i, [()] * size)
    return result


def _arithmetic(op: Op, extents: Mapping[int, Extents]) -> Extents | None:
    sizes = [op.size(i, 0) if op.rank(i) == 1 else 1 for i in op.given() if op.rank(i) < 2]
    if len(sizes) < len(op.given()) or None in sizes:
        return None
    length = max(size or 0 for size in sizes)
    spread = [found * (length // len(found)) for found in extents.values()]
    return [tuple(slots for part in parts for slots in part) for parts in zip(*spread, strict=True)]


_FOLLOW: dict[str, Callable[[Op, Mapping[int, Extents]], Extents | None]] = {
    **dict.fromkeys(("Cast", "Identity", "Squeeze", "Unsqueeze"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Max", "Min"), _arithmetic),
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
}
