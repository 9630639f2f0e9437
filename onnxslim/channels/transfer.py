"""How each op carries facts about channels from its inputs to its output.

To add an op, write ``def transfer(view: View) -> Facts | None`` and list it in :data:`TRANSFER`. None says that nothing
is known, which is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.channels.facts import Bases, Facts, proportional
from onnxslim.graph import constants, shapes


class View:
    """What a transfer sees of its node."""

    def __init__(self, node: ir.Node, known: Mapping[ir.Value, Facts], bases: Bases) -> None:
        self.node = node
        self.bases = bases
        self._known = known

    def const(self, i: int) -> np.ndarray | None:
        """A constant input as float64, else None."""
        if i >= len(self.node.inputs) or self.node.inputs[i] is None:
            return None
        found = constants.constant(self.node.inputs[i])
        return None if found is None else np.asarray(found, np.float64)

    def facts(self, i: int, axis: int | None = None) -> Facts | None:
        """What is known of input ``i`` (along ``axis``)."""
        value = self.node.inputs[i] if i < len(self.node.inputs) else None
        found = self._known.get(value) if value is not None else None
        return found if found is not None and axis in (None, found.axis) else None

    def dims(self, i: int) -> tuple[int | str | None, ...]:
        """The dimensions of input ``i``, () where not even the rank is known."""
        return shapes.dims(self.node.inputs[i]) or ()

    def out(self) -> tuple[int | str | None, ...]:
        """The dimensions of output 0."""
        return shapes.dims(self.node.outputs[0]) or ()

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return self.node.attributes.get_float(name, default)


Transfer = Callable[[View], Facts | None]


def learn(model: ir.Model) -> dict[ir.Value, Facts]:
    """Facts about the tensors of the main graph of ``model``, whose shapes have been inferred."""
    known: dict[ir.Value, Facts] = {}
    bases = Bases()
    for node in model.graph:
        transfer = TRANSFER.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        found = transfer(View(node, known, bases)) if transfer is not None else None
        if found is not None:
            known[node.outputs[0]] = found.settled()
    return known


def padded(node: ir.Node) -> bool:
    """Whether a convolution or a pooling sees zeros beyond the border."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    return any(pads) if mode in ("NOTSET", "") else mode != "VALID"


def _conv(view: View) -> Facts | None:
    weight = view.const(1)
    if weight is None:
        return None
    groups = view.integer("group", 1)
    rows = weight.reshape(groups, -1, *weight.shape[1:])
    bias = view.const(2)
    if bias is None and len(view.node.inputs) > 2 and view.node.inputs[2] is not None:
        return None
    return _linear(view, rows, bias, 1, 1, padded(view.node))


def _conv_transpose(view: View) -> Facts | None:
    weight = view.const(1)
    if weight is None or view.integer("group", 1) != 1:
        return None
    return _linear(view, np.swapaxes(weight, 0, 1)[None], view.const(2), 1, 1, True)


def _gemm(view: View) -> Facts | None:
    weight, bias = view.const(1), view.const(2)
    if weight is None or view.integer("transA", 0) or (bias is None and len(view.node.inputs) > 2):
        return None
    rows = (weight if view.integer("transB", 0) else weight.T) * view.number("alpha", 1.0)
    if bias is not None:
        if bias.size not in (1, len(rows)) or (bias.ndim == 2 and bias.shape[0] != 1):
            return None
        bias = bias.reshape(-1) * view.number("beta", 1.0)
    return _linear(view, rows[None], bias, 1, 1, False)


def _matmul(view: View) -> Facts | None:
    weight, rank = view.const(1), len(view.dims(0))
    if weight is None or weight.ndim != 2 or rank < 2:
        return None
    return _linear(view, weight.T[None], None, rank - 1, rank - 1, False)


def _linear(view: View, rows: np.ndarray, bias: np.ndarray | None, axis: int, out: int, border: bool) -> Facts:
    """Rows (groups, rows, columns, taps …) applied to the channels of input 0.

    With a ``border``, only zeros are the same constant everywhere, and every input may be met as a zero.
    """
    groups, each, columns = rows.shape[:3]
    rows = rows.reshape(groups, each, columns, -1)
    offset = np.broadcast_to(0.0 if bias is None else bias, groups * each).reshape(groups, each)
    given = view.facts(0, axis) or view.bases.unknown(groups * columns, axis)
    shape = (groups, 1, columns)
    constant = (given.zero if border else given.constant).reshape(shape)
    if constant.any():
        value = np.where(given.constant, given.factor, 0.0).reshape(shape)
        offset = offset + np.where(constant, rows.sum(axis=3) * value, 0.0).sum(axis=2)
        rows = np.where(constant[..., None], 0.0, rows)
    low, high = _bounds(rows, offset, given.low.reshape(shape), given.high.reshape(shape), border)
    keys = np.repeat(np.arange(groups), each)
    if columns == 1:  # depthwise: a row's input is one slot, which may itself be a multiple of another's
        keys = np.repeat(given.base, each)
        rows = rows * given.factor.reshape(groups, 1, 1, 1)
    flat = np.column_stack([rows.reshape(groups * each, -1), offset.ravel()])
    still = np.logical_not(flat[:, :-1].any(axis=1))
    leader, factor = np.arange(len(flat)), np.ones(len(flat))
    moving = np.flatnonzero(~still)
    if len(moving):
        first, factor[moving] = proportional(flat[moving], keys[moving])
        leader[moving] = moving[first]
    factor[still] = flat[still, -1]
    return view.bases.keyed(out, [leader], factor, low.ravel(), high.ravel(), still)


def _bounds(
    rows: np.ndarray, offset: np.ndarray, low: np.ndarray, high: np.ndarray, border: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a linear map, a little wider than exact to cover the runtime's rounding."""
    if border:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if not (np.isfinite(low).any() or np.isfinite(high).any()):
        return np.full(offset.shape, -np.inf), np.full(offset.shape, np.inf)
    up, down = np.maximum(rows, 0).sum(axis=3), np.minimum(rows, 0).sum(axis=3)
    return _end([(up, low), (down, high)], offset, -np.inf), _end([(up, high), (down, low)], offset, np.inf)


def _end(terms: Sequence[tuple[np.ndarray, np.ndarray]], offset: np.ndarray, end: float) -> np.ndarray:
    """The sum of part (groups, rows, n) @ side (groups, 1, n), with 0 · inf = 0; what has no bound is ``end``."""
    total, size, bounded = offset, np.abs(offset), np.ones(offset.shape, bool)
    for part, side in terms:
        finite = np.isfinite(side)
        known = np.where(finite, side, 0.0).transpose(0, 2, 1)
        total = total + (part @ known)[..., 0]
        size = size + (np.abs(part) @ np.abs(known))[..., 0]
        if not finite.all():
            bounded &= ~((part != 0) & ~finite).any(axis=2)
    return np.where(bounded, total + np.copysign(1e-5, end) * size, end)


def _relu(view: View, x: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(x, 0))


def _clip(view: View, x: np.ndarray) -> np.ndarray:
    ends = [view.const(i) for i in (1, 2)]
    low = view.number("min", -np.inf) if ends[0] is None else float(ends[0])
    high = view.number("max", np.inf) if ends[1] is None else float(ends[1])
    return np.asarray(np.clip(x, low, high))


def _leaky(view: View, x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, x * view.number("alpha", 0.01), x)


def _hard_sigmoid(view: View, x: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(view.number("alpha", 0.2) * x + view.number("beta", 0.5), 0, 1))


def _sigmoid(view: View, x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


#: op -> (what it computes, which never decreases; whether positive factors pass through it)
MONOTONE: dict[str, tuple[Callable[[View, np.ndarray], np.ndarray], bool]] = {
    "Clip": (_clip, False),
    "Dropout": (lambda view, x: x, True),
    "HardSigmoid": (_hard_sigmoid, False),
    "Identity": (lambda view, x: x, True),
    "LeakyRelu": (_leaky, True),
    "Relu": (_relu, True),
    "Sigmoid": (_sigmoid, False),
    "Tanh": (lambda view, x: np.tanh(x), False),
}

#: Functions of one element that are not monotone: equal channels stay equal, constant ones are not evaluated.
POINTWISE = ("Abs", "Celu", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSwish", "Log", "Mish", "Neg", "Reciprocal", "Selu")


def _monotone(view: View) -> Facts | None:
    given = view.facts(0)
    if given is None or any(
        view.const(i) is None for i in range(1, len(view.node.inputs)) if view.node.inputs[i] is not None
    ):
        return None
    function, homogeneous = MONOTONE[view.node.op_type]
    if view.number("alpha", 0.0) < 0 or (view.node.op_type == "Dropout" and view.const(2) is not None):
        return None
    with np.errstate(all="ignore"):
        low, high = function(view, given.low), function(view, given.high)
        value = np.where(given.constant, function(view, given.factor), given.factor)
    passes = homogeneous & (given.factor > 0)
    keys = [given.base, np.where(passes, 1.0, given.factor)]
    factor = np.where(given.constant, value, np.where(passes, given.factor, 1.0))
    return view.bases.keyed(given.axis, keys, factor, low, high, given.constant)


def _pointwise(view: View) -> Facts | None:
    given = view.facts(0)
    if given is None:
        return None
    return view.bases.keyed(given.axis, [given.base, given.factor], np.ones(len(given)))


def _affine(view: View, given: Facts, scale: np.ndarray, shift: np.ndarray) -> Facts:
    """scale · x + shift, both (n,): factor · scale · (base + shift / (factor · scale))."""
    factor = given.factor * scale
    still = given.constant | (factor == 0)
    with np.errstate(all="ignore"):
        keys = [given.base, np.where(shift == 0, 0, np.float32(shift / factor))]
        ends = np.stack([given.low * scale, given.high * scale]) + shift
    ends = np.where(scale == 0, shift, ends)
    value = np.where(given.constant, factor, 0.0) + shift
    return view.bases.keyed(given.axis, keys, np.where(still, value, factor), ends.min(axis=0), ends.max(axis=0), still)


def _batch_normalization(view: View) -> Facts | None:
    given, given_all = view.facts(0, 1), [view.const(i) for i in range(1, 5)]
    scale, offset, mean, variance = given_all
    if scale is None or offset is None or mean is None or variance is None or view.integer("training_mode", 0):
        return None
    scale = scale / np.sqrt(variance + view.number("epsilon", 1e-5))
    return _affine(view, given or view.bases.unknown(len(scale), 1), scale, offset - mean * scale)


def _arithmetic(view: View) -> Facts | None:
    """Add, Sub, Mul, Div of two tensors that have the channels in the same place, or of one and a constant."""
    rank = len(view.out())
    sides = [_side(view, i, rank) for i in (0, 1)]
    facts = [side for side in sides if isinstance(side, Facts)]
    if not rank or not facts or len({(fact.axis, len(fact)) for fact in facts}) > 1:
        return None
    axis, size = facts[0].axis, len(facts[0])
    numbers = [_vector(side, rank, axis, size) for side in sides]
    left, right = sides
    kind = view.node.op_type
    if isinstance(left, Facts) and numbers[1] is not None:
        one, zero = np.ones(size), np.zeros(size)
        if kind == "Div" and not numbers[1].all():
            return None
        return {
            "Add": lambda k: _affine(view, left, one, k),
            "Sub": lambda k: _affine(view, left, one, -k),
            "Mul": lambda k: _affine(view, left, k, zero),
            "Div": lambda k: _affine(view, left, 1 / k, zero),
        }[kind](numbers[1])
    if isinstance(right, Facts) and numbers[0] is not None and kind != "Div":
        sign = -1.0 if kind == "Sub" else 1.0
        scale, shift = (numbers[0], np.zeros(size)) if kind == "Mul" else (np.full(size, sign), numbers[0])
        return _affine(view, right, scale, shift)
    return _of_two(view, left, right, axis, size)


def _of_two(view: View, left: object, right: object, axis: int, size: int) -> Facts:
    """Neither is a constant: equal pairs give equal results, zero times anything is zero."""
    sides = [side if isinstance(side, Facts) else None for side in (left, right)]
    product = view.node.op_type == "Mul"
    zero, keys = np.zeros(size, bool), []
    for side, found in zip((left, right), sides, strict=True):
        if found is not None:
            zero |= found.zero & product
            keys += [found.base, found.factor]
        elif not isinstance(side, str):
            keys.append(np.arange(size))
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    one, two = sides
    if one is not None and two is not None:
        if view.node.op_type == "Add":
            low, high = one.low + two.low, one.high + two.high
        elif product:
            low = np.where((one.low >= 0) & (two.low >= 0), 0.0, low)
    return view.bases.keyed(axis, keys, np.where(zero, 0.0, 1.0), low, high, zero)


def _side(view: View, i: int, rank: int) -> Facts | np.ndarray | str | None:
    """Input ``i``: its facts moved to where the output has that axis, a constant, "one for all", or None."""
    array = view.const(i)
    if array is not None:
        return array
    found, dims = view.facts(i), view.dims(i)
    if found is not None and dims:
        return found.along(found.axis + rank - len(dims))
    other = view.facts(1 - i)
    if other is not None and dims:
        back = rank - (other.axis + rank - len(view.dims(1 - i)))
        if back > len(dims) or dims[-back] == 1:
            return "one for all"
    return None


def _vector(side: object, rank: int, axis: int, size: int) -> np.ndarray | None:
    """A constant as one number for each channel, None where it is none or varies within a channel."""
    if not isinstance(side, np.ndarray) or side.ndim > rank:
        return None
    array = side.reshape((1,) * (rank - side.ndim) + side.shape)
    if any(length != 1 for a, length in enumerate(array.shape) if a != axis) or array.shape[axis] not in (1, size):
        return None
    return np.broadcast_to(array.ravel(), size)


def _same(view: View) -> Facts | None:
    """What mixes places within a channel, with weights that sum to one: pooling, nearest and linear resizing."""
    given = view.facts(0, 1)
    if given is None or len(view.node.outputs) > 1:
        return None
    mode = view.node.attributes.get_string("mode", "nearest")
    if view.node.op_type == "Resize" and (mode == "cubic" or view.out()[:2] != view.dims(0)[:2]):
        return None
    border = view.node.op_type == "AveragePool" and (
        view.integer("count_include_pad", 0) or view.integer("ceil_mode", 0)
    )
    return _mixed(view, given, bool(border))


def _mixed(view: View, given: Facts, border: bool) -> Facts:
    constant = given.zero if border else given.constant
    passes = given.factor > 0
    keys = [given.base, np.where(passes, 1.0, given.factor)]
    factor = np.where(constant, given.factor, np.where(passes, given.factor, 1.0))
    low, high = (np.minimum(given.low, 0), np.maximum(given.high, 0)) if border else (given.low, given.high)
    return view.bases.keyed(given.axis, keys, factor, low, high, constant)


def _pad(view: View) -> Facts | None:
    given, amounts, value = view.facts(0), view.const(1), view.const(2)
    rank = len(view.dims(0))
    zeros = view.node.attributes.get_string("mode", "constant") == "constant" and (value is None or not value.any())
    if given is None or amounts is None or len(amounts) != 2 * rank or not zeros or len(view.node.inputs) > 3:
        return None
    if amounts[given.axis] or amounts[given.axis + rank]:
        return None
    return _mixed(view, given, bool(amounts.any()))


def _reduce_mean(view: View) -> Facts | None:
    given, rank = view.facts(0), len(view.dims(0))
    found = view.const(1)
    axes = view.node.attributes["axes"].as_ints() if "axes" in view.node.attributes else found
    if given is None or axes is None or not rank:
        return None
    gone = {int(a) % rank for a in np.ravel(axes)}
    if given.axis in gone:
        return None
    keeps = view.integer("keepdims", 1)
    return _mixed(view, given, False).along(given.axis - (0 if keeps else sum(a < given.axis for a in gone)))


def _concat(view: View) -> Facts | None:
    rank = len(view.out())
    axis = view.integer("axis", 0) % rank if rank else -1
    parts = []
    for i in range(len(view.node.inputs)):
        dims = view.dims(i)
        size = dims[axis] if len(dims) == rank else None
        if axis < 0 or not isinstance(size, int):
            return None
        parts.append(view.facts(i, axis) or view.bases.unknown(size, axis))
    columns = zip(*((p.base, p.factor, p.low, p.high) for p in parts), strict=True)
    return Facts(axis, *(np.concatenate(column) for column in columns))


def _flatten(view: View) -> Facts | None:
    """(N, C, …) to (N, C · …), the features of a classifier."""
    given, dims, out = view.facts(0, 1), view.dims(0), view.out()
    inner = [size for size in dims[2:] if isinstance(size, int)]
    if given is None or len(out) != 2 or len(inner) != len(dims) - 2 or out[1] != len(given) * int(np.prod(inner)):
        return None
    each = int(np.prod(inner))
    slots = given.take(np.repeat(np.arange(len(given)), each))
    place = np.tile(np.arange(each), len(given))
    return view.bases.keyed(1, [slots.base, place], slots.factor, slots.low, slots.high, slots.constant)


def _transpose(view: View) -> Facts | None:
    given, rank = view.facts(0), len(view.dims(0))
    if given is None or not rank:
        return None
    order = list(view.node.attributes["perm"].as_ints()) if "perm" in view.node.attributes else list(range(rank))[::-1]
    return given.along(order.index(given.axis))


TRANSFER: dict[str, Transfer] = {
    **dict.fromkeys(MONOTONE, _monotone),
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize"), _same),
    **dict.fromkeys(("Flatten", "Reshape"), _flatten),
    "BatchNormalization": _batch_normalization,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Transpose": _transpose,
}
