"""Zeros among the weights: for a smaller download and for hardware that skips them, never a speed-up in onnxruntime.

Masks by magnitude, N:M patterns, and SparseGPT (Frantar & Alistarh 2023): columns are taken from left to right, what is
set to zero in one is made up for by those to its right, with the same H⁻¹ that scores channels. Arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

#: Columns among which the zeros of one row are chosen together.
BLOCK = 128


def magnitude_masks(weights: Sequence[np.ndarray], share: float, *, globally: bool = True) -> list[np.ndarray]:
    """Which weights stay when the smallest ``share`` go, over all layers together or layer by layer.

    Globally, layers are compared by magnitude over their own root mean square, or the widest layer would lose the most.

    Args:
        weights: One array for each layer, any shape.
        share: In [0, 1].
        globally: Choose over all layers together.

    Returns:
        One bool array for each layer, its shape.
    """
    sizes = [np.abs(w) / max(float(np.sqrt(np.mean(np.square(w)))), 1e-30) for w in weights]
    if globally and sizes:
        order = _smallest(np.concatenate([size.ravel() for size in sizes]), share)
        cuts = np.cumsum([size.size for size in sizes])[:-1]
        return [part.reshape(w.shape) for part, w in zip(np.split(~order, cuts), weights, strict=True)]
    return [~_smallest(size.ravel(), share).reshape(size.shape) for size in sizes]


def pattern_mask(scores: np.ndarray, n: int, m: int) -> np.ndarray:
    """Of every ``m`` neighbouring columns the ``n`` with the highest scores: bool, the shape of ``scores`` (rows, d).

    Columns left over at the end, fewer than ``m``, stay.
    """
    rows, columns = scores.shape
    whole = columns - columns % m
    mask = np.ones(scores.shape, bool)
    order = np.argsort(scores[:, :whole].reshape(rows, -1, m), axis=2, kind="stable")
    kept = np.zeros((rows, whole // m, m), bool)
    np.put_along_axis(kept, order[:, :, m - n :], True, axis=2)
    mask[:, :whole] = kept.reshape(rows, whole)
    return mask


def sparse(
    weight: np.ndarray,
    inverse: np.ndarray,
    share: float,
    pattern: tuple[int, int] | None = None,
    *,
    columns: int | None = None,
) -> np.ndarray:
    """``weight`` with zeros, the weights that stay moved to make up for them.

    Args:
        weight: float64 (m, d).
        inverse: float64 (d, d), the damped inverse Gram matrix.
        share: How many of each block's weights become zero, in [0, 1]; ignored with a ``pattern``.
        pattern: (n, m): n of every m neighbouring columns stay.
        columns: Only the first so many columns get zeros; those behind (a bias) are moved. All when None.

    Returns:
        float64 (m, d).
    """
    result = weight.copy()
    free = weight.shape[1] if columns is None else columns
    upper = linalg.cholesky(inverse, lower=False, check_finite=False)
    diagonal = np.diag(upper)
    width = BLOCK if pattern is None else BLOCK - BLOCK % pattern[1]
    for start in range(0, free, width):
        stop = min(start + width, free)
        scores = np.square(result[:, start:stop] / diagonal[start:stop])
        if pattern is None:
            keep = ~_smallest(scores.ravel(), share).reshape(scores.shape)
        else:
            keep = pattern_mask(scores, *pattern)
        errors = np.zeros((len(result), stop - start))
        for column in range(start, stop):
            mask = keep[:, column - start]
            lost = np.where(mask, 0.0, result[:, column]) / diagonal[column]
            result[:, column:stop] -= np.outer(lost, upper[column, column:stop])
            result[~mask, column] = 0.0
            errors[:, column - start] = lost
        result[:, stop:] -= errors @ upper[start:stop, stop:]
    return result


def _smallest(values: np.ndarray, share: float) -> np.ndarray:
    """The smallest ``share`` of ``values`` (n,), ties in order: bool (n,)."""
    count = round(share * values.size)
    mask = np.zeros(values.size, bool)
    mask[np.argsort(values, kind="stable")[:count]] = True
    return mask
