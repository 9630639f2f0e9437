"""Reassociate: the same elements, with axes split, flattened, reordered."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.rule_records import SizeRecord
from onnxslim.channels.slots.slot_tracing import Axis, FlattenedAxis

Dim = int | str


def regroup(op: Op, axes: Sequence[Axis], source: Sequence[Dim], target: Sequence[Dim]) -> list[Axis]:
    """Axes of a tensor reshaped from ``source`` to ``target``, both row-major.

    Equal dimensions pair up from both ends, then runs with equal products, so that dimensions which are not known
    before run time (batch, sequence) do not stand in the way. What remains between them is pinned.
    """
    result: list[Axis] = [op.fixed_slots(size) for size in target]
    first = 0
    while first < min(len(source), len(target)) and source[first] == target[first]:
        result[first] = axes[first]
        first += 1
    i, j = len(source), len(target)
    while i > first or j > first:
        if i > first and j > first and source[i - 1] == target[j - 1]:
            i, j = i - 1, j - 1
            result[j] = axes[i]
            continue
        match = _match_products(source[first:i], target[first:j])
        if match is None:
            break
        source_count, target_count = match
        parts = [axis for axis in axes[i - source_count : i] if not isinstance(axis, str)]
        sizes = [size for size in target[j - target_count : j] if isinstance(size, int)]
        pieces = op.trace.reshape(parts, sizes)
        if pieces is None:
            for part in parts:
                op.pin(part, f"{_format_dims(source[i - source_count : i])} does not fit into {_format_dims(sizes)}")
        else:
            result[j - target_count : j] = pieces
        i, j = i - source_count, j - target_count
    if i == j == first + 1:
        result[first] = axes[first]
        return result
    regrouped = _flatten_into_unknown(op, axes[first:i], target[first:j])
    if regrouped is not None:
        result[first:j] = regrouped
        return result
    for axis in axes[first:i]:
        op.pin(axis, "it is flattened with an axis whose size is not known")
    return result


def _flatten_into_unknown(op: Op, axes: Sequence[Axis], target: Sequence[Dim]) -> list[Axis] | None:
    """(unknown, a, b …) reshaped to (unknown', c …): what c … leaves of a × b … is flattened into unknown'."""
    inner = [part for axis in axes for part in ((axis.outer, axis.inner) if isinstance(axis, FlattenedAxis) else (axis,))]
    inner = [part for part in inner if isinstance(part, str) or len(part) > 1]
    outer, sizes = [], list(target)
    while inner and isinstance(inner[0], str):
        outer.append(inner.pop(0))
    while sizes and (sizes[0] == 1 or isinstance(sizes[0], str)):
        sizes.pop(0)
    head: list[Axis] = [op.fixed_slots(size) for size in target[: len(target) - len(sizes)]]
    names = [e for e, axis in enumerate(head) if isinstance(axis, str)]
    parts = [part for part in inner if not isinstance(part, str)]
    fixed = [size for size in sizes if isinstance(size, int)]
    if not outer or not names or len(parts) < len(inner) or len(fixed) < len(sizes) or 0 in fixed:
        return None
    absorbed, left = divmod(math.prod(len(part) for part in parts), math.prod(fixed))
    if left or (absorbed > 1 and len(names) > 1):
        return None
    pieces = op.trace.reshape(parts, [absorbed, *fixed])
    if pieces is None:
        return None
    if absorbed > 1:
        head[names[0]] = FlattenedAxis.of(str(head[names[0]]), "*".join(map(str, outer)), pieces[0])
    return [*head, *pieces[1:]]


def _match_products(source: Sequence[Dim], target: Sequence[Dim]) -> tuple[int, int] | None:
    """How many trailing dimensions on either side have equal products, at least one in all, with ones swallowed."""
    if target and target[-1] == 1:
        return 0, 1
    source_count = target_count = 0
    source_product = target_product = 1
    while source_count + target_count == 0 or source_product != target_product:
        if source_product <= target_product and source_count < len(source):
            size = source[-1 - source_count]
            source_product, source_count = source_product * size if isinstance(size, int) else 0, source_count + 1
        elif target_product < source_product and target_count < len(target):
            size = target[-1 - target_count]
            target_product, target_count = target_product * size if isinstance(size, int) else 0, target_count + 1
        else:
            return None
        if source_product == 0 or target_product == 0:
            return None
    return source_count, target_count


def _format_dims(dims: Sequence[Dim]) -> str:
    return "(" + ", ".join(str(dim) for dim in dims) + ")"


def reshape(op: Op) -> None:
    """Reshape: the target's numbers follow the axes that they size."""
    source = _find_input_dims(op)
    requested = op.read_symbolic_ints(1)
    target = op.output_dims(0) if requested is None else _resolve_target(source, requested, bool(op.get_int("allowzero", 0)))
    axes = regroup(op, op.axes(0), source, target)
    op.record_size(1, {e: axes[e] for e, size in enumerate(requested or target) if size != -1})
    for e, axis in enumerate(axes):
        if isinstance(axis, FlattenedAxis) and (requested is None or requested[e] not in (0, -1)):
            _mark_inferred(op, e, axis, requested)
    op.set_output(0, axes)


def _mark_inferred(op: Op, e: int, axis: FlattenedAxis, requested: Sequence[Dim] | None) -> None:
    """Element e of the target is a product of sizes computed at run time; when channels go, it becomes -1."""
    if requested is None or -1 in requested or any(size.fixed for size in op.records.sizes):
        op.pin(axis, "it is flattened with an axis whose size is not known")
    else:
        op.records.sizes.append(SizeRecord(1, {}, {e: -1}, len(requested), (axis.inner,)))


def _resolve_target(source: Sequence[Dim], requested: Sequence[Dim], allow_zero: bool) -> list[Dim]:
    """The shape that a Reshape results in: 0 copies a dimension, -1 is what is left."""
    target = [source[e] if size == 0 and not allow_zero else size for e, size in enumerate(requested)]
    if -1 not in target:
        return target
    unmatched = list(source)
    for size in target:
        if isinstance(size, str) and size in unmatched:
            unmatched.remove(size)
        elif isinstance(size, str):
            unmatched.append("")  # a size that the source does not have: what is left cannot be told
    known_product = math.prod(size for size in target if isinstance(size, int) and size != -1)
    inferred: Dim = f"{'*'.join(map(str, source))}/{'*'.join(map(str, target))}"
    names = [size for size in unmatched if isinstance(size, str)]
    left_product = math.prod(size for size in unmatched if isinstance(size, int))
    if known_product and not names:
        inferred = left_product // known_product
    elif known_product == left_product and len(names) == 1:
        inferred = names[0]
    return [inferred if size == -1 else size for size in target]


def flatten(op: Op) -> None:
    """Flatten: the sizes are implied."""
    op.set_output(0, regroup(op, op.axes(0), _find_input_dims(op), op.output_dims(0)))


def squeeze(op: Op) -> None:
    """Axes of size 1 are dropped."""
    axes = op.axes(0)
    squeezed_axes = op.read_ints(1, "axes")
    if squeezed_axes is None and not op.has_input(1):
        squeezed_axes = [a for a in range(len(axes)) if op.size(0, a) == 1]
    if squeezed_axes is None:
        raise DeclinedError("which axes it drops is not known")
    dropped = {op.normalize_axis(a, len(axes)) for a in squeezed_axes}
    op.set_output(0, [axis for a, axis in enumerate(axes) if a not in dropped])


def unsqueeze(op: Op) -> None:
    """Axes of size 1 are put in."""
    rest = op.axes(0)
    inserted_axes = op.read_ints(1, "axes")
    if inserted_axes is None:
        raise DeclinedError("which axes it puts in is not known")
    inserted = {op.normalize_axis(a, len(rest) + len(inserted_axes)) for a in inserted_axes}
    op.set_output(0, [op.fixed_slots(1) if a in inserted else rest.pop(0) for a in range(len(rest) + len(inserted_axes))])


def transpose(op: Op) -> None:
    """Axes in another order."""
    axes = op.axes(0)
    order = op.read_ints(1, "perm") or list(range(len(axes)))[::-1]
    op.set_output(0, [axes[a] for a in order])


def depth_to_space(op: Op) -> None:
    """Channels are (block, block, channel) or, mode CRD, (channel, block, block); the blocks move into space."""
    slots, block = op.channels(0, 1), op.get_int("blocksize", 1)
    last = op.get_string("mode", "DCR") != "CRD"
    kept = len(slots) // block**2
    parts = op.split(slots, (block**2, kept) if last else (kept, block**2))
    op.pin(parts[1 - last], "it becomes a position in space")
    op.fill_output(0, {0: op.axis(0, 0), 1: parts[last]})


def space_to_depth(op: Op) -> None:
    """Channels become (block, block, channel); the blocks stay."""
    slots, block = op.channels(0, 1), op.get_int("blocksize", 1)
    op.fill_output(0, {0: op.axis(0, 0), 1: op.merge([op.fixed_slots(block**2), slots])})


def _find_input_dims(op: Op) -> list[Dim]:
    """The dimensions of input 0: sizes or names."""
    return [axis if isinstance(axis, str) else len(axis) for axis in op.axes(0)]


RULES = {
    "DepthToSpace": depth_to_space,
    "Flatten": flatten,
    "Reshape": reshape,
    "SpaceToDepth": space_to_depth,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
