"""Facts about channels through what sums them: rows of zeros, proportional rows, bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxslim.channels.facts import Facts, proportional
from onnxslim.channels.view import Transfer, View, padded


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


TRANSFER: dict[str, Transfer] = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}
