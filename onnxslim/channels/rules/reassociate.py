"""Reassociate: the same elements, with axes split, flattened, reordered."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.channels.op import DeclinedError, Op
from onnxslim.channels.trace import Axis
from onnxslim.graph import shapes

Dim = int | str | None


def regroup(op: Op, axes: Sequence[Axis], source: Sequence[Dim], target: Sequence[Dim]) -> list[Axis]:
    """Axes of a tensor reshaped from ``source`` to ``target``, both row-major.

    Equal dimensions pair up from both ends, then runs with equal products, so that dimensions which are not known
    before run time (batch, sequence) do not stand in the way. What remains between them is pinned.
    """
    result: list[Axis] = [op.still(size) for size in target]
    first = 0
    while first < min(len(source), len(target)) and source[first] is not None and source[first] == target[first]:
        result[first] = axes[first]
        first += 1
    i, j = len(source), len(target)
    while i > first or j > first:
        run = _run(source[first:i], target[first:j])
        if run is None:
            break
        taken, made = run
        parts = [axis for axis in axes[i - taken : i] if axis is not None]
        sizes = [size for size in target[j - made : j] if isinstance(size, int)]
        pieces = op.reshape(parts, sizes)
        if pieces is None:
            for part in parts:
                op.pin(part, f"{_text(source[i - taken : i])} does not fit into {_text(sizes)}")
        else:
            result[j - made : j] = pieces
        i, j = i - taken, j - made
    if i == j == first + 1:
        result[first] = axes[first]
    else:
        for axis in axes[first:i]:
            op.pin(axis, "it is flattened with an axis whose size is not known")
    return result


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
    target = op.known(0)
    axes = regroup(op, op.axes(0), _source(op), target)
    shape = op.const(1)
    if shape is None:
        op.count(1, dict(enumerate(axes)))
    else:
        op.count(1, {e: axes[e] for e, size in enumerate(shape.tolist()) if size != -1})
    op.out(0, axes)


def flatten(op: Op) -> None:
    """Flatten: the sizes are implied."""
    op.out(0, regroup(op, op.axes(0), _source(op), op.known(0)))


def squeeze(op: Op) -> None:
    """Axes of size 1 are dropped."""
    axes = op.axes(0)
    at = op.integers("axes", 1)
    if at is None and not op.has(1):
        at = [a for a in range(len(axes)) if op.size(0, a) == 1]
    if at is None:
        raise DeclinedError("which axes it drops is not known")
    gone = {op.positive(a, len(axes)) for a in at}
    op.out(0, [axis for a, axis in enumerate(axes) if a not in gone])


def unsqueeze(op: Op) -> None:
    """Axes of size 1 are put in."""
    rest = op.axes(0)
    at = op.integers("axes", 1)
    if at is None:
        raise DeclinedError("which axes it puts in is not known")
    new = {op.positive(a, len(rest) + len(at)) for a in at}
    op.out(0, [op.still(1) if a in new else rest.pop(0) for a in range(len(rest) + len(at))])


def transpose(op: Op) -> None:
    """Axes in another order."""
    axes = op.axes(0)
    order = op.integers("perm") or list(range(len(axes)))[::-1]
    op.out(0, [axes[a] for a in order])


def depth_to_space(op: Op) -> None:
    """Channels are (block, block, channel) or, mode CRD, (channel, block, block); the blocks move into space."""
    slots, block = op.axis(0, 1), op.integer("blocksize", 1)
    if slots is None:
        raise DeclinedError("the number of channels is not known")
    last = op.node.attributes.get_string("mode", "DCR") != "CRD"
    kept = len(slots) // block**2
    parts = op.split(slots, (block**2, kept) if last else (kept, block**2))
    op.pin(parts[1 - last], "it becomes a position in space")
    op.stay(0, {0: op.axis(0, 0), 1: parts[last]})


def space_to_depth(op: Op) -> None:
    """Channels become (block, block, channel); the blocks stay."""
    slots, block = op.axis(0, 1), op.integer("blocksize", 1)
    if slots is None:
        raise DeclinedError("the number of channels is not known")
    op.stay(0, {0: op.axis(0, 0), 1: op.merge([op.still(block**2), slots])})


def _source(op: Op) -> list[Dim]:
    """The dimensions of input 0: sizes, names, or None."""
    dims = shapes.dims(op.node.inputs[0])
    named = [None if dims is None or isinstance(dims[a], int) else dims[a] for a in range(op.rank(0))]
    return [named[a] if axis is None else len(axis) for a, axis in enumerate(op.axes(0))]


RULES = {
    "DepthToSpace": depth_to_space,
    "Flatten": flatten,
    "Reshape": reshape,
    "SpaceToDepth": space_to_depth,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
