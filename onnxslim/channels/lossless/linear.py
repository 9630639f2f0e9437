"""Facts about channels through what sums them: rows of zeros, proportional rows, bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxslim.channels.lossless.facts import ChannelFacts, find_proportional
from onnxslim.channels.lossless.layout_view import NodeView, Transfer, has_padding


def _conv(view: NodeView) -> ChannelFacts | None:
    weight = view.const(1)
    if weight is None:
        return None
    groups = view.get_int("group", 1)
    rows = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    bias = view.const(2)
    if bias is None and len(view.node.inputs) > 2 and view.node.inputs[2] is not None:
        return None
    return _apply_rows(view, rows, bias, 1, 1, has_padding(view.node))


def _conv_transpose(view: NodeView) -> ChannelFacts | None:
    weight = view.const(1)
    if weight is None or view.get_int("group", 1) != 1:
        return None
    return _apply_rows(view, np.swapaxes(weight, 0, 1)[None], view.const(2), 1, 1, True)


def _gemm(view: NodeView) -> ChannelFacts | None:
    weight, bias = view.const(1), view.const(2)
    if weight is None or view.get_int("transA", 0) or (bias is None and len(view.node.inputs) > 2):
        return None
    rows = (weight if view.get_int("transB", 0) else weight.T) * view.get_float("alpha", 1.0)
    if bias is not None:
        if bias.size not in (1, len(rows)) or (bias.ndim == 2 and bias.shape[0] != 1):
            return None
        bias = bias.reshape(-1) * view.get_float("beta", 1.0)
    return _apply_rows(view, rows[None], bias, 1, 1, False)


def _matmul(view: NodeView) -> ChannelFacts | None:
    weight, rank = view.const(1), len(view.input_dims(0))
    if weight is None or weight.ndim != 2 or rank < 2:
        return None
    return _apply_rows(view, weight.T[None], None, rank - 1, rank - 1, False)


def _apply_rows(
    view: NodeView, rows: np.ndarray, bias: np.ndarray | None, in_axis: int, out_axis: int, has_border: bool
) -> ChannelFacts:
    """Rows (groups, rows, columns, taps …) applied to the channels of input 0.

    With a ``has_border``, only zeros are the same constant everywhere, and every input may be met as a zero.
    """
    groups, group_rows, columns = rows.shape[:3]
    rows = rows.reshape(groups, group_rows, columns, math.prod(rows.shape[3:]))
    offset = np.broadcast_to(0.0 if bias is None else bias, groups * group_rows).reshape(groups, group_rows)
    facts = view.input_facts(0, in_axis) or view.bases.add_unknown(groups * columns, in_axis)
    shape = (groups, 1, columns)
    constant = (facts.is_zero if has_border else facts.is_constant).reshape(shape)
    if constant.any():
        value = np.where(facts.is_constant, facts.factor, 0.0).reshape(shape)
        offset = offset + np.where(constant, rows.sum(axis=3) * value, 0.0).sum(axis=2)
        rows = np.where(constant[..., None], 0.0, rows)
    low, high = _compute_bounds(rows, offset, facts.low.reshape(shape), facts.high.reshape(shape), has_border)
    keys = np.repeat(np.arange(groups), group_rows)
    if columns == 1:  # depthwise: a row's input is one slot, which may itself be a multiple of another's
        keys = np.repeat(facts.base, group_rows)
        rows = rows * facts.factor.reshape(groups, 1, 1, 1)
    flat = np.column_stack([rows.reshape(len(keys), columns * rows.shape[3]), offset.ravel()])
    is_constant = np.logical_not(flat[:, :-1].any(axis=1))
    leader, factor = np.arange(len(flat)), np.ones(len(flat))
    varying = np.flatnonzero(~is_constant)
    if len(varying):
        first, factor[varying] = find_proportional(flat[varying], keys[varying])
        leader[varying] = varying[first]
    factor[is_constant] = flat[is_constant, -1]
    return view.bases.assign_bases(out_axis, [leader], factor, low.ravel(), high.ravel(), is_constant)


def _compute_bounds(
    rows: np.ndarray, offset: np.ndarray, low: np.ndarray, high: np.ndarray, has_border: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a linear map, a little wider than exact to cover the runtime's rounding."""
    if has_border:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if not (np.isfinite(low).any() or np.isfinite(high).any()):
        return np.full(offset.shape, -np.inf), np.full(offset.shape, np.inf)
    positive, negative = np.maximum(rows, 0).sum(axis=3), np.minimum(rows, 0).sum(axis=3)
    return _sum_bounds([(positive, low), (negative, high)], offset, -np.inf), _sum_bounds(
        [(positive, high), (negative, low)], offset, np.inf
    )


def _sum_bounds(terms: Sequence[tuple[np.ndarray, np.ndarray]], offset: np.ndarray, unbounded: float) -> np.ndarray:
    """The sum of part (groups, rows, n) @ side (groups, 1, n), with 0 · inf = 0; what has no bound is ``unbounded``."""
    total, size, bounded = offset, np.abs(offset), np.ones(offset.shape, bool)
    for part, side in terms:
        finite = np.isfinite(side)
        known = np.where(finite, side, 0.0).transpose(0, 2, 1)
        total = total + (part @ known)[..., 0]
        size = size + (np.abs(part) @ np.abs(known))[..., 0]
        if not finite.all():
            bounded &= ~((part != 0) & ~finite).any(axis=2)
    return np.where(bounded, total + np.copysign(1e-5, unbounded) * size, unbounded)


TRANSFERS: dict[str, Transfer] = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}
