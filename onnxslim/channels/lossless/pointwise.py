"""Facts about channels through what computes each element on its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxslim.channels.lossless.facts import ChannelFacts
from onnxslim.channels.lossless.layout_view import NodeView, Transfer
from onnxslim.graph.clip_bounds import get_clip_bounds

#: op -> (what it computes, which never decreases; whether positive factors pass through it)
MONOTONE_OPS: dict[str, tuple[Callable[[NodeView, np.ndarray], np.ndarray], bool]] = {
    "Clip": (lambda view, x: np.clip(x, *get_clip_bounds(view.node)), False),
    "Dropout": (lambda view, x: x, True),
    "HardSigmoid": (lambda view, x: np.clip(view.get_float("alpha", 0.2) * x + view.get_float("beta", 0.5), 0, 1), False),
    "Identity": (lambda view, x: x, True),
    "LeakyRelu": (lambda view, x: np.where(x < 0, x * view.get_float("alpha", 0.01), x), True),
    "Relu": (lambda view, x: np.maximum(x, 0), True),
    "Sigmoid": (lambda view, x: np.exp(-np.logaddexp(0, -x)), False),
    "Tanh": (lambda view, x: np.tanh(x), False),
}

#: Functions of one element that are not monotone: equal channels stay equal, constant ones are not evaluated.
POINTWISE_OPS = ("Abs", "Celu", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSwish", "Log", "Mish", "Neg", "Reciprocal", "Selu")


def _monotone(view: NodeView) -> ChannelFacts | None:
    facts = view.input_facts(0)
    parameters = [i for i, value in enumerate(view.node.inputs) if i and value is not None]
    if facts is None or any(view.const(i) is None for i in parameters):
        return None
    function, homogeneous = MONOTONE_OPS[view.node.op_type]
    if view.get_float("alpha", 0.0) < 0 or (view.node.op_type == "Dropout" and view.const(2) is not None):
        return None
    with np.errstate(all="ignore"):
        low, high = function(view, facts.low), function(view, facts.high)
        value = np.where(facts.is_constant, function(view, facts.factor), facts.factor)
    passes = homogeneous & (facts.factor > 0)
    keys = [facts.base, np.where(passes, 1.0, facts.factor)]
    factor = np.where(facts.is_constant, value, np.where(passes, facts.factor, 1.0))
    return view.bases.assign_bases(facts.axis, keys, factor, low, high, facts.is_constant)


def _pointwise(view: NodeView) -> ChannelFacts | None:
    facts = view.input_facts(0)
    if facts is None:
        return None
    return view.bases.assign_bases(facts.axis, [facts.base, facts.factor], np.ones(len(facts)))


def _affine(view: NodeView, facts: ChannelFacts, scale: np.ndarray, shift: np.ndarray) -> ChannelFacts:
    """scale · x + shift, both (n,): factor · scale · (base + shift / (factor · scale))."""
    factor = facts.factor * scale
    is_constant = facts.is_constant | (factor == 0)
    with np.errstate(all="ignore"):
        keys = [facts.base, np.where(shift == 0, 0, np.float32(shift / factor))]
        bounds = np.stack([facts.low * scale, facts.high * scale]) + shift
    bounds = np.where(scale == 0, shift, bounds)
    value = np.where(facts.is_constant, factor, 0.0) + shift
    return view.bases.assign_bases(
        facts.axis, keys, np.where(is_constant, value, factor), bounds.min(axis=0), bounds.max(axis=0), is_constant
    )


def _batch_normalization(view: NodeView) -> ChannelFacts | None:
    facts, parameters = view.input_facts(0, 1), [view.const(i) for i in range(1, 5)]
    scale, offset, mean, variance = parameters
    if scale is None or offset is None or mean is None or variance is None or view.get_int("training_mode", 0):
        return None
    scale = scale / np.sqrt(variance + view.get_float("epsilon", 1e-5))
    return _affine(view, facts or view.bases.add_unknown(len(scale), 1), scale, offset - mean * scale)


def _arithmetic(view: NodeView) -> ChannelFacts | None:
    """Add, Sub, Mul, Div of two tensors that have the channels in the same place, or of one and a constant."""
    rank = len(view.output_dims())
    sides = [_find_side(view, i, rank) for i in (0, 1)]
    facts = [side for side in sides if isinstance(side, ChannelFacts)]
    if not rank or not facts or len({(fact.axis, len(fact)) for fact in facts}) > 1:
        return None
    axis, size = facts[0].axis, len(facts[0])
    channel_values = [_find_channel_values(side, rank, axis, size) for side in sides]
    left, right = sides
    op_type = view.node.op_type
    if isinstance(left, ChannelFacts) and channel_values[1] is not None:
        one, zero = np.ones(size), np.zeros(size)
        if op_type == "Div" and not channel_values[1].all():
            return None
        return {
            "Add": lambda k: _affine(view, left, one, k),
            "Sub": lambda k: _affine(view, left, one, -k),
            "Mul": lambda k: _affine(view, left, k, zero),
            "Div": lambda k: _affine(view, left, 1 / k, zero),
        }[op_type](channel_values[1])
    if isinstance(right, ChannelFacts) and channel_values[0] is not None and op_type != "Div":
        sign = -1.0 if op_type == "Sub" else 1.0
        scale, shift = (channel_values[0], np.zeros(size)) if op_type == "Mul" else (np.full(size, sign), channel_values[0])
        return _affine(view, right, scale, shift)
    return _combine_channels(view, left, right, axis, size)


def _combine_channels(view: NodeView, left: object, right: object, axis: int, size: int) -> ChannelFacts:
    """Neither is a constant: equal pairs give equal results, zero times anything is zero."""
    sides = [side if isinstance(side, ChannelFacts) else None for side in (left, right)]
    is_product = view.node.op_type == "Mul"
    is_zero, keys = np.zeros(size, bool), []
    for side, side_facts in zip((left, right), sides, strict=True):
        if side_facts is not None:
            is_zero |= side_facts.is_zero & is_product
            keys += [side_facts.base, side_facts.factor]
        elif not isinstance(side, str):
            keys.append(np.arange(size))
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    left_facts, right_facts = sides
    if left_facts is not None and right_facts is not None:
        if view.node.op_type == "Add":
            low, high = left_facts.low + right_facts.low, left_facts.high + right_facts.high
        elif is_product:
            low = np.where((left_facts.low >= 0) & (right_facts.low >= 0), 0.0, low)
    return view.bases.assign_bases(axis, keys, np.where(is_zero, 0.0, 1.0), low, high, is_zero)


def _find_side(view: NodeView, i: int, rank: int) -> ChannelFacts | np.ndarray | str | None:
    """Input ``i``: its facts moved to where the output has that axis, a constant, "one for all", or None."""
    array = view.const(i)
    if array is not None:
        return array
    facts, dims = view.input_facts(i), view.input_dims(i)
    if facts is not None and dims:
        return facts.with_axis(facts.axis + rank - len(dims))
    other_facts = view.input_facts(1 - i)
    if other_facts is not None and dims:
        back = rank - (other_facts.axis + rank - len(view.input_dims(1 - i)))
        if back > len(dims) or dims[-back] == 1:
            return "one for all"
    return None


def _find_channel_values(side: object, rank: int, axis: int, size: int) -> np.ndarray | None:
    """A constant as one number for each channel, None where it is none or varies within a channel."""
    if not isinstance(side, np.ndarray) or side.ndim > rank:
        return None
    array = side.reshape((1,) * (rank - side.ndim) + side.shape)
    if any(length != 1 for a, length in enumerate(array.shape) if a != axis) or array.shape[axis] not in (1, size):
        return None
    return np.broadcast_to(array.ravel(), size)


TRANSFERS: dict[str, Transfer] = {
    **dict.fromkeys(MONOTONE_OPS, _monotone),
    **dict.fromkeys(POINTWISE_OPS, _pointwise),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "BatchNormalization": _batch_normalization,
}
