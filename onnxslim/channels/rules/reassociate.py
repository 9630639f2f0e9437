"""Reassociate: the same elements, with axes split, flattened, reordered."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxslim.channels.node import DeclinedError
from onnxslim.channels.op import Op
from onnxslim.channels.record import Counted
from onnxslim.channels.trace import Axis, Flat

Dim = int | str


def regroup(op: Op, axes: Sequence[Axis], source: Sequence[Dim], target: Sequence[Dim]) -> list[Axis]:
    """Axes of a tensor reshaped from ``source`` to ``target``, both row-major.

    Equal dimensions pair up from both ends, then runs with equal products, so that dimensions which are not known
    before run time (batch, sequence) do not stand in the way. What remains between them is pinned.
    """
    result: list[Axis] = [op.still(size) for size in target]
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
        run = _run(source[first:i], target[first:j])
        if run is None:
            break
        taken, made = run
        parts = [axis for axis in axes[i - taken : i] if not isinstance(axis, str)]
        sizes = [size for size in target[j - made : j] if isinstance(size, int)]
        pieces = op.trace.reshape(parts, sizes)
        if pieces is None:
            for part in parts:
                op.pin(part, f"{_text(source[i - taken : i])} does not fit into {_text(sizes)}")
        else:
            result[j - made : j] = pieces
        i, j = i - taken, j - made
    if i == j == first + 1:
        result[first] = axes[first]
        return result
    beside = _beside_unknown(op, axes[first:i], target[first:j])
    if beside is not None:
        result[first:j] = beside
        return result
    for axis in axes[first:i]:
        op.pin(axis, "it is flattened with an axis whose size is not known")
    return result


def _beside_unknown(op: Op, axes: Sequence[Axis], target: Sequence[Dim]) -> list[Axis] | None:
    """(unknown, a, b …) reshaped to (unknown', c …): what c … leaves of a × b … is flattened into unknown'."""
    inner = [part for axis in axes for part in ((axis.outer, axis.inner) if isinstance(axis, Flat) else (axis,))]
    inner = [part for part in inner if isinstance(part, str) or len(part) > 1]
    outer, sizes = [], list(target)
    while inner and isinstance(inner[0], str):
        outer.append(inner.pop(0))
    while sizes and (sizes[0] == 1 or isinstance(sizes[0], str)):
        sizes.pop(0)
    head: list[Axis] = [op.still(size) for size in target[: len(target) - len(sizes)]]
    names = [e for e, axis in enumerate(head) if isinstance(axis, str)]
    parts = [part for part in inner if not isinstance(part, str)]
    fixed = [size for size in sizes if isinstance(size, int)]
    if not outer or not names or len(parts) < len(inner) or len(fixed) < len(sizes) or 0 in fixed:
        return None
    rest, left = divmod(math.prod(len(part) for part in parts), math.prod(fixed))
    if left or (rest > 1 and len(names) > 1):
        return None
    pieces = op.trace.reshape(parts, [rest, *fixed])
    if pieces is None:
        return None
    if rest > 1:
        head[names[0]] = Flat.of(str(head[names[0]]), "*".join(map(str, outer)), pieces[0])
    return [*head, *pieces[1:]]


def _run(source: Sequence[Dim], target: Sequence[Dim]) -> tuple[int, int] | None:
    """How many trailing dimensions on either side have equal products, at least one in all, with ones swallowed."""
    if target and target[-1] == 1:
        return 0, 1
    taken = made = 0
    left = right = 1
    while taken + made == 0 or left != right:
        if left <= right and taken < len(source):
            size = source[-1 - taken]
            left, taken = left * size if isinstance(size, int) else 0, taken + 1
        elif right < left and made < len(target):
            size = target[-1 - made]
            right, made = right * size if isinstance(size, int) else 0, made + 1
        else:
            return None
        if left == 0 or right == 0:
            return None
    return taken, made


def _text(dims: Sequence[Dim]) -> str:
    return "(" + ", ".join(str(dim) for dim in dims) + ")"


def reshape(op: Op) -> None:
    """Reshape: the target's numbers follow the axes that they size."""
    source = _source(op)
    wanted = op.numbers(1)
    target = op.known(0) if wanted is None else _target(source, wanted, bool(op.integer("allowzero", 0)))
    axes = regroup(op, op.axes(0), source, target)
    op.count(1, {e: axes[e] for e, size in enumerate(wanted or target) if size != -1})
    for e, axis in enumerate(axes):
        if isinstance(axis, Flat) and (wanted is None or wanted[e] not in (0, -1)):
            _leave_open(op, e, axis, wanted)
    op.out(0, axes)


def _leave_open(op: Op, e: int, axis: Flat, wanted: Sequence[Dim] | None) -> None:
    """Element e of the target is a product of sizes computed at run time; when channels go, it becomes -1."""
    if wanted is None or -1 in wanted or any(size.fixed for size in op.records.sizes):
        op.pin(axis, "it is flattened with an axis whose size is not known")
    else:
        op.records.sizes.append(Counted(1, {}, {e: -1}, len(wanted), (axis.inner,)))


def _target(source: Sequence[Dim], wanted: Sequence[Dim], zero: bool) -> list[Dim]:
    """The shape that a Reshape results in: 0 copies a dimension, -1 is what is left."""
    target = [source[e] if size == 0 and not zero else size for e, size in enumerate(wanted)]
    if -1 not in target:
        return target
    left = list(source)
    for size in target:
        if isinstance(size, str) and size in left:
            left.remove(size)
        elif isinstance(size, str):
            left.append("")  # a size that the source does not have: what is left cannot be told
    made = math.prod(size for size in target if isinstance(size, int) and size != -1)
    rest: Dim = f"{'*'.join(map(str, source))}/{'*'.join(map(str, target))}"
    if made and not any(isinstance(size, str) for size in left):
        rest = math.prod(int(size) for size in left) // made
    elif made == math.prod(size for size in left if isinstance(size, int)) and len(names := _names(left)) == 1:
        rest = names[0]
    return [rest if size == -1 else size for size in target]


def _names(dims: Sequence[Dim]) -> list[str]:
    return [size for size in dims if isinstance(size, str)]


def flatten(op: Op) -> None:
    """Flatten: the sizes are implied."""
    op.out(0, regroup(op, op.axes(0), _source(op), op.known(0)))


def squeeze(op: Op) -> None:
    """Axes of size 1 are dropped."""
    axes = op.axes(0)
    at = op.integers(1, "axes")
    if at is None and not op.has(1):
        at = [a for a in range(len(axes)) if op.size(0, a) == 1]
    if at is None:
        raise DeclinedError("which axes it drops is not known")
    gone = {op.positive(a, len(axes)) for a in at}
    op.out(0, [axis for a, axis in enumerate(axes) if a not in gone])


def unsqueeze(op: Op) -> None:
    """Axes of size 1 are put in."""
    rest = op.axes(0)
    at = op.integers(1, "axes")
    if at is None:
        raise DeclinedError("which axes it puts in is not known")
    new = {op.positive(a, len(rest) + len(at)) for a in at}
    op.out(0, [op.still(1) if a in new else rest.pop(0) for a in range(len(rest) + len(at))])


def transpose(op: Op) -> None:
    """Axes in another order."""
    axes = op.axes(0)
    order = op.integers(1, "perm") or list(range(len(axes)))[::-1]
    op.out(0, [axes[a] for a in order])


def depth_to_space(op: Op) -> None:
    """Channels are (block, block, channel) or, mode CRD, (channel, block, block); the blocks move into space."""
    slots, block = op.channels(0, 1), op.integer("blocksize", 1)
    last = op.text("mode", "DCR") != "CRD"
    kept = len(slots) // block**2
    parts = op.split(slots, (block**2, kept) if last else (kept, block**2))
    op.pin(parts[1 - last], "it becomes a position in space")
    op.stay(0, {0: op.axis(0, 0), 1: parts[last]})


def space_to_depth(op: Op) -> None:
    """Channels become (block, block, channel); the blocks stay."""
    slots, block = op.channels(0, 1), op.integer("blocksize", 1)
    op.stay(0, {0: op.axis(0, 0), 1: op.merge([op.still(block**2), slots])})


def _source(op: Op) -> list[Dim]:
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
