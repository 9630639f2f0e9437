"""Index: slots are listed, cut, repeated; the numbers that say where follow them."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.node import DeclinedError
from onnxslim.channels.op import Op
from onnxslim.channels.trace import Axis, carries


def concat(op: Op) -> None:
    """Slots one after the other along ``axis``; everywhere else the inputs are the same channels."""
    rank = op.rank(0)
    axis = op.positive(op.integer("axis", 0), rank)
    parts = [op.axis(i, axis) for i in op.given()]
    known = [part for part in parts if not isinstance(part, str)]
    if len(known) < len(parts):
        for part in parts:
            op.pin(part, "joined with parts whose size is not known")
    order = sorted(op.given(), key=lambda i: op.constant[i])
    axes: list[Axis] = []
    for a in range(rank):
        if a == axis:
            axes.append(np.concatenate(known) if len(known) == len(parts) else op.trace.unknown())
            continue
        joined = op.axis(order[0], a)
        for i in order[1:]:
            joined = op.join(i, a, joined)
        axes.append(joined)
    op.out(0, axes)


def split(op: Op) -> None:
    """The pieces of ``axis``; their sizes become explicit."""
    axes = op.axes(0)
    axis = op.positive(op.integer("axis", 0), len(axes))
    slots, outputs = axes[axis], len(op.outputs)
    sizes = op.integers(1, "split")
    if sizes is None and not op.has(1) and isinstance(slots, np.ndarray):
        each = -(-len(slots) // outputs)
        sizes = [min(each, len(slots) - each * k) for k in range(outputs)]
    pieces: list[Axis]
    if isinstance(slots, str) or sizes is None:
        op.pin(slots, "it is split at places that are not known")
        pieces = [op.still(op.known(k)[axis]) for k in range(outputs)]
    else:
        pieces = [*np.split(slots, np.cumsum(sizes)[:-1])]
        op.count("split" if op.version < 13 else 1, dict(enumerate(pieces)) if slots.any() else {})
    for k, piece in enumerate(pieces):
        op.out(k, [piece if a == axis else other for a, other in enumerate(axes)])


def slice_(op: Op) -> None:
    """A range of an axis (or all of it backwards) keeps its slots; a strided one keeps them all in place."""
    axes = op.axes(0)
    starts, ends = op.numbers(1, "starts"), op.numbers(2, "ends")
    at = op.integers(3, "axes") if op.has(3) or "axes" in op.node.attributes else list(range(len(starts or ())))
    steps = op.integers(4) if op.has(4) else [1] * len(at or ())
    if at is None or (starts is None and not op.has(3)):
        raise DeclinedError("which axes it cuts is not known")
    inputs = "starts" not in op.node.attributes
    counts: tuple[dict[int, Axis], dict[int, Axis]] = ({}, {})
    behind: list[np.ndarray] = []
    result = list(axes)
    for e, a in enumerate(op.positive(a, len(axes)) for a in at):
        slots = axes[a]
        start, end = None if starts is None else starts[e], None if ends is None else ends[e]
        if not carries(slots) or not isinstance(start, int) or not isinstance(end, int) or steps is None:
            op.pin(slots, "it is cut at places that are not known")
            result[a] = op.still(op.known(0)[a])
            continue
        first, last, step = slice(start, end, steps[e]).indices(len(slots))
        if step == 1:
            result[a] = slots[first:last]
            counts[0][e], counts[1][e] = slots[:first], slots[:last]
            if min(start, end) < 0:
                behind.append(slots)  # counted from the end, which moves
        elif step == -1 and first == len(slots) - 1 and last == -1:
            result[a] = slots[::-1]
        else:
            op.pin(slots, "every so many slots of it are taken")
            result[a] = op.still(op.known(0)[a])
    op.count(1 if inputs else "starts", counts[0], behind)
    op.count(2 if inputs else "ends", counts[1], behind)
    op.out(0, result)


def gather(op: Op) -> None:
    """Constant indices in a list pick slots; any other indexing keeps the axis as it is (an embedding's vocabulary)."""
    axes = op.axes(0)
    axis = op.positive(op.integer("axis", 0), len(axes))
    slots, indices = axes[axis], op.const(1)
    if indices is None or indices.ndim != 1 or not carries(slots):
        op.pin(slots, "it is indexed by values" if indices is None else "one of its slots is picked by number")
        inner = op.axes(1) if indices is None else [op.still(int(size)) for size in indices.shape]
    else:
        inner = [slots[indices.astype(np.int64)]]
        op.join(1, 0, inner[0])
        op.remap(1, slots)
    op.out(0, [*axes[:axis], *inner, *axes[axis + 1 :]])


def pad(op: Op) -> None:
    """Zeros before and after channels are channels of their own; with any other padding they stay."""
    axes = op.axes(0)
    amounts = op.integers(1, "pads")
    at = op.integers(3) if op.has(3) else list(range(len(axes)))
    if amounts is None or at is None:
        raise DeclinedError("how much it pads is not known")
    value = op.const(2) if op.has(2) else op.node.attributes.get_float("value", 0.0)
    zeros = op.text("mode", "constant") == "constant" and value is not None and not np.any(value)
    result, counts = list(axes), {}
    for e, a in enumerate(op.positive(a, len(axes)) for a in at):
        before, after = amounts[e], amounts[e + len(at)]
        slots = axes[a]
        if before == after == 0:
            continue
        if not carries(slots) or not zeros or min(before, after) < 0:
            op.pin(slots, "it is padded with something else than zeros")
            result[a] = op.still(op.known(0)[a])
            continue
        ends = [op.fresh(size) if size else op.still(0) for size in (before, after)]
        counts[e], counts[e + len(at)] = ends
        result[a] = np.concatenate([ends[0], slots, ends[1]])
    op.count("pads" if "pads" in op.node.attributes else 1, counts)
    op.out(0, result)


def tile(op: Op) -> None:
    """Copies of a channel are the channel; copies of a single slot are channels of their own, as many as are wanted."""
    axes = op.axes(0)
    repeats = op.integers(1)
    if repeats is None:
        raise DeclinedError("how often it repeats is not known")
    result: list[Axis] = []
    counts: dict[int, Axis] = {}
    for a, (slots, times) in enumerate(zip(axes, repeats, strict=True)):
        if times == 1:
            result.append(slots)
        elif isinstance(slots, str):
            op.pin(slots, "it is repeated, and its size is not known")
            result.append(op.trace.unknown())
        elif len(slots) == 1:
            counts[a] = op.fresh(times)
            result.append(counts[a])
        else:
            result.append(np.tile(slots, times))
    op.count(1, counts)
    op.out(0, result)


def expand(op: Op) -> None:
    """What is there stays the channels it is; what a single slot is expanded to are channels of their own."""
    axes, shape = op.axes(0), op.numbers(1)
    if shape is None:
        shape = op.known(0)
        shape = shape[len(shape) - (op.size(1, 0) or 0) :]
    rank = max(len(axes), len(shape))
    ahead = rank - len(shape)
    result: list[Axis] = []
    for slots, size in zip(
        [*(op.still(1) for _ in range(rank - len(axes))), *axes], [*(1 for _ in range(ahead)), *shape], strict=True
    ):
        if not isinstance(slots, str) and len(slots) == 1:
            result.append(op.fresh(size) if isinstance(size, int) else size)
        else:
            if isinstance(size, str) or (isinstance(slots, str) and size != 1):
                op.pin(slots, "it is expanded to a size that is not known")
            result.append(slots)
    op.count(1, {a - ahead: slots for a, slots in enumerate(result) if a >= ahead})
    op.out(0, result)


RULES = {
    "Concat": concat,
    "Expand": expand,
    "Gather": gather,
    "Pad": pad,
    "Slice": slice_,
    "Split": split,
    "Tile": tile,
}
