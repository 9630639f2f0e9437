"""Facts about channels through what computes each element on its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxslim.channels.facts import Facts
from onnxslim.channels.view import Transfer, View


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


TRANSFER: dict[str, Transfer] = {
    **dict.fromkeys(MONOTONE, _monotone),
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "BatchNormalization": _batch_normalization,
}
