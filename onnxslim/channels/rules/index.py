"""Index: slots are listed, cut, repeated; the numbers that say where follow them."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.op import DeclinedError, Op
from onnxslim.channels.trace import Axis


def concat(op: Op) -> None:
    """Slots one after the other along ``axis``; everywhere else the inputs are the same channels."""
    rank = op.rank(0)
    axis = op.positive(op.integer("axis", 0), rank)
    parts = [op.axis(i, axis) for i in op.given()]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        for part in known:
            op.pin(part, "joined with parts whose size is not known")
    order = sorted(op.given(), key=lambda i: op.constant[i])
    axes: list[Axis] = []
    for a in range(rank):
        if a == axis:
            axes.append(np.concatenate(known) if len(known) == len(parts) else None)
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
    sizes = [op.known(k)[axis] for k in range(len(op.outputs))]
    slots = axes[axis]
    if slots is None or sum(s if isinstance(s, int) else -1 for s in sizes) != len(slots):
        op.pin(slots, "it is split at places that are not known")
        for k, size in enumerate(sizes):
            op.out(k, [op.still(size) if a == axis else other for a, other in enumerate(axes)])
        return
    starts = np.cumsum([0, *(int(s) for s in sizes if s is not None)])
    pieces = [slots[starts[k] : starts[k + 1]] for k in range(len(sizes))]
    for k, piece in enumerate(pieces):
        op.out(k, [piece if a == axis else other for a, other in enumerate(axes)])
    if slots.any():
        op.count("split" if op.version < 13 else 1, dict(enumerate(pieces)))


def slice_(op: Op) -> None:
    """A range of an axis (or all of it backwards) keeps its slots; a strided one keeps them all in place."""
    axes = op.axes(0)
    starts, ends = op.integers("starts", 1), op.integers("ends", 2)
    at = op.integers("axes", 3)
    if at is None and not op.has(3):
        at = list(range(len(starts if starts is not None else axes)))
    steps = op.integers("steps", 4) or ([1] * len(at or ()) if not op.has(4) else None)
    if at is None:
        raise DeclinedError("which axes it cuts is not known")
    inputs = "starts" not in op.node.attributes
    counts: tuple[dict[int, Axis], dict[int, Axis]] = ({}, {})
    result = list(axes)
    for e, a in enumerate(op.positive(a, len(axes)) for a in at):
        slots = axes[a]
        if slots is None or starts is None or ends is None or steps is None or not slots.any():
            op.pin(slots, "it is cut at places that are not known")
            result[a] = op.still(op.known(0)[a])
            continue
        chosen = slice(starts[e], ends[e], steps[e])
        first, last, step = chosen.indices(len(slots))
        if step == 1:
            result[a] = slots[first:last]
            counts[0][e], counts[1][e] = slots[:first], slots[:last]
        elif step == -1 and first == len(slots) - 1 and last == -1:
            result[a] = slots[::-1]
        else:
            op.pin(slots, "every so many slots of it are taken")
            result[a] = op.still(op.known(0)[a])
    op.count(1 if inputs else "starts", counts[0])
    op.count(2 if inputs else "ends", counts[1])
    op.out(0, result)


def gather(op: Op) -> None:
    """Constant indices in a list pick slots; any other indexing keeps the axis as it is (an embedding's vocabulary)."""
    axes = op.axes(0)
    axis = op.positive(op.integer("axis", 0), len(axes))
    slots, indices = axes[axis], op.const(1)
    if indices is None or indices.ndim != 1 or slots is None or not slots.any():
        op.pin(slots, "it is indexed by values" if indices is None else "one of its slots is picked by number")
        inner = op.axes(1) if indices is None else [op.still(size) for size in indices.shape]
    else:
        inner = [slots[indices.astype(np.int64)]]
        op.join(1, 0, inner[0])
        op.remap(1, slots)
    op.out(0, [*axes[:axis], *inner, *axes[axis + 1 :]])


def pad(op: Op) -> None:
    """Zeros before and after channels are channels of their own; with any other padding they stay."""
    axes = op.axes(0)
    amounts = op.integers("pads", 1)
    at = op.integers("axes", 3) if op.has(3) else list(range(len(axes)))
    if amounts is None or at is None:
        raise DeclinedError("how much it pads is not known")
    value = op.const(2) if op.has(2) else op.node.attributes.get_float("value", 0.0)
    zeros = op.node.attributes.get_string("mode", "constant") == "constant" and value is not None and not np.any(value)
    result, counts = list(axes), {}
    for e, a in enumerate(op.positive(a, len(axes)) for a in at):
        before, after = amounts[e], amounts[e + len(at)]
        slots = axes[a]
        if before == after == 0:
            continue
        if slots is None or not slots.any() or not zeros or min(before, after) < 0:
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
    repeats = op.integers("repeats", 1)
    if repeats is None:
        raise DeclinedError("how often it repeats is not known")
    result: list[Axis] = []
    counts: dict[int, Axis] = {}
    for a, (slots, times) in enumerate(zip(axes, repeats, strict=True)):
        if slots is None or times == 1:
            result.append(slots if times == 1 else None)
        elif len(slots) == 1:
            counts[a] = op.fresh(times)
            result.append(counts[a])
        else:
            result.append(np.tile(slots, times))
    op.count(1, counts)
    op.out(0, result)


def expand(op: Op) -> None:
    """What is there stays the channels it is; what a single slot is expanded to are channels of their own."""
    axes = op.axes(0)
    dims = op.known(0)
    result: list[Axis] = []
    for a, size in enumerate(dims):
        back = a - len(dims) + len(axes)
        slots = axes[back] if back >= 0 else op.still(1)
        if not isinstance(size, int):
            op.pin(slots, "it is expanded to a size that is not known")
            result.append(None)
        else:
            result.append(op.fresh(size) if slots is not None and len(slots) == 1 else slots)
    vector = op.size(1, 0)
    if vector is None:
        raise DeclinedError("the shape it expands to is not known")
    ahead = len(dims) - vector
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
