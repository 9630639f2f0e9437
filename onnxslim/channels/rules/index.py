"""Index: slots are listed, cut, repeated; the numbers that say where follow them."""

from __future__ import annotations

import numpy as np

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.slot_tracing import Axis, has_channels


def concat(op: Op) -> None:
    """Slots one after the other along ``axis``; everywhere else the inputs are the same channels."""
    rank = op.rank(0)
    axis = op.normalize_axis(op.get_int("axis", 0), rank)
    parts = [op.axis(i, axis) for i in op.given_inputs()]
    known_parts = [part for part in parts if not isinstance(part, str)]
    if len(known_parts) < len(parts):
        for part in parts:
            op.pin(part, "joined with parts whose size is not known")
    order = sorted(op.given_inputs(), key=lambda i: op.is_constant[i])
    axes: list[Axis] = []
    for a in range(rank):
        if a == axis:
            axes.append(np.concatenate(known_parts) if len(known_parts) == len(parts) else op.trace.new_symbolic_dim())
            continue
        joined = op.axis(order[0], a)
        for i in order[1:]:
            joined = op.join(i, a, joined)
        axes.append(joined)
    op.set_output(0, axes)


def split(op: Op) -> None:
    """The pieces of ``axis``; their sizes become explicit."""
    axes = op.axes(0)
    axis = op.normalize_axis(op.get_int("axis", 0), len(axes))
    slots, outputs = axes[axis], len(op.outputs)
    sizes = op.read_ints(1, "split")
    if sizes is None and not op.has_input(1) and isinstance(slots, np.ndarray):
        piece_size = -(-len(slots) // outputs)
        sizes = [min(piece_size, len(slots) - piece_size * k) for k in range(outputs)]
    pieces: list[Axis]
    if isinstance(slots, str) or sizes is None:
        op.pin(slots, "it is split at places that are not known")
        pieces = [op.fixed_slots(op.output_dims(k)[axis]) for k in range(outputs)]
    else:
        pieces = [*np.split(slots, np.cumsum(sizes)[:-1])]
        op.record_size("split" if op.opset < 13 else 1, dict(enumerate(pieces)) if slots.any() else {})
    for k, piece in enumerate(pieces):
        op.set_output(k, [piece if a == axis else other for a, other in enumerate(axes)])


def slice_(op: Op) -> None:
    """A range of an axis (or all of it backwards) keeps its slots; a strided one keeps them all in place."""
    axes = op.axes(0)
    starts, ends = op.read_symbolic_ints(1, "starts"), op.read_symbolic_ints(2, "ends")
    cut_axes = op.read_ints(3, "axes") if op.has_input(3) or "axes" in op.node.attributes else list(range(len(starts or ())))
    steps = op.read_ints(4) if op.has_input(4) else [1] * len(cut_axes or ())
    if cut_axes is None or (starts is None and not op.has_input(3)):
        raise DeclinedError("which axes it cuts is not known")
    as_inputs = "starts" not in op.node.attributes
    counts: tuple[dict[int, Axis], dict[int, Axis]] = ({}, {})
    shifting: list[np.ndarray] = []
    result = list(axes)
    for e, a in enumerate(op.normalize_axis(a, len(axes)) for a in cut_axes):
        slots = axes[a]
        start, end = None if starts is None else starts[e], None if ends is None else ends[e]
        if not has_channels(slots) or not isinstance(start, int) or not isinstance(end, int) or steps is None:
            op.pin(slots, "it is cut at places that are not known")
            result[a] = op.fixed_slots(op.output_dims(0)[a])
            continue
        first, last, step = slice(start, end, steps[e]).indices(len(slots))
        if step == 1:
            result[a] = slots[first:last]
            counts[0][e], counts[1][e] = slots[:first], slots[:last]
            if min(start, end) < 0:
                shifting.append(slots)  # counted from the end, which moves
        elif step == -1 and first == len(slots) - 1 and last == -1:
            result[a] = slots[::-1]
        else:
            op.pin(slots, "every so many slots of it are taken")
            result[a] = op.fixed_slots(op.output_dims(0)[a])
    op.record_size(1 if as_inputs else "starts", counts[0], shifting)
    op.record_size(2 if as_inputs else "ends", counts[1], shifting)
    op.set_output(0, result)


def gather(op: Op) -> None:
    """Constant indices in a list pick slots; any other indexing keeps the axis as it is (an embedding's vocabulary). Of an
    input of the graph, which stays, they may pick fewer.
    """
    axes = op.axes(0)
    axis = op.normalize_axis(op.get_int("axis", 0), len(axes))
    slots, indices = axes[axis], op.const(1)
    if indices is None or indices.ndim != 1 or not has_channels(slots):
        op.pin(slots, "it is indexed by values" if indices is None else "one of its slots is picked by number")
        inner = op.axes(1) if indices is None else [op.fixed_slots(int(size)) for size in indices.shape]
    elif op.node.inputs[0] is not None and op.node.inputs[0].is_graph_input():
        inner = [op.new_channels(len(indices))]
        op.join(1, 0, inner[0])
    else:
        inner = [slots[indices.astype(np.int64)]]
        op.join(1, 0, inner[0])
        op.record_remap(1, slots)
    op.set_output(0, [*axes[:axis], *inner, *axes[axis + 1 :]])


def pad(op: Op) -> None:
    """Zeros before and after channels are channels of their own; with any other padding they stay."""
    axes = op.axes(0)
    amounts = op.read_ints(1, "pads")
    padded_axes = op.read_ints(3) if op.has_input(3) else list(range(len(axes)))
    if amounts is None or padded_axes is None:
        raise DeclinedError("how much it pads is not known")
    value = op.const(2) if op.has_input(2) else op.node.attributes.get_float("value", 0.0)
    pads_zeros = op.get_string("mode", "constant") == "constant" and value is not None and not np.any(value)
    result, counts = list(axes), {}
    for e, a in enumerate(op.normalize_axis(a, len(axes)) for a in padded_axes):
        before, after = amounts[e], amounts[e + len(padded_axes)]
        slots = axes[a]
        if before == after == 0:
            continue
        if not has_channels(slots) or not pads_zeros or min(before, after) < 0:
            op.pin(slots, "it is padded with something else than zeros")
            result[a] = op.fixed_slots(op.output_dims(0)[a])
            continue
        padding = [op.new_channels(size) if size else op.fixed_slots(0) for size in (before, after)]
        counts[e], counts[e + len(padded_axes)] = padding
        result[a] = np.concatenate([padding[0], slots, padding[1]])
    op.record_size("pads" if "pads" in op.node.attributes else 1, counts)
    op.set_output(0, result)


def tile(op: Op) -> None:
    """Copies of a channel are the channel; copies of a single slot are channels of their own, as many as are wanted."""
    axes = op.axes(0)
    repeats = op.read_ints(1)
    if repeats is None:
        raise DeclinedError("how often it repeats is not known")
    result: list[Axis] = []
    counts: dict[int, Axis] = {}
    for a, (slots, times) in enumerate(zip(axes, repeats, strict=True)):
        if times == 1:
            result.append(slots)
        elif isinstance(slots, str):
            op.pin(slots, "it is repeated, and its size is not known")
            result.append(op.trace.new_symbolic_dim())
        elif len(slots) == 1:
            counts[a] = op.new_channels(times)
            result.append(counts[a])
        else:
            result.append(np.tile(slots, times))
    op.record_size(1, counts)
    op.set_output(0, result)


def expand(op: Op) -> None:
    """What is there stays the channels it is; what a single slot is expanded to are channels of their own."""
    axes, shape = op.axes(0), op.read_symbolic_ints(1)
    if shape is None:
        shape = op.output_dims(0)
        shape = shape[len(shape) - (op.size(1, 0) or 0) :]
    rank = max(len(axes), len(shape))
    missing = rank - len(shape)
    result: list[Axis] = []
    padded_axes = [*[op.fixed_slots(1)] * (rank - len(axes)), *axes]
    for slots, size in zip(padded_axes, [*[1] * missing, *shape], strict=True):
        if not isinstance(slots, str) and len(slots) == 1:
            result.append(op.new_channels(size) if isinstance(size, int) else size)
        else:
            if isinstance(size, str) or (isinstance(slots, str) and size != 1):
                op.pin(slots, "it is expanded to a size that is not known")
            result.append(slots)
    op.record_size(1, {a - missing: slots for a, slots in enumerate(result) if a >= missing})
    op.set_output(0, result)


RULES = {"Concat": concat, "Expand": expand, "Gather": gather, "Pad": pad, "Slice": slice_, "Split": split, "Tile": tile}
