"""Zeros among the weights: for a smaller download and for hardware that skips them, never a speed-up in onnxruntime.

Which weights go is a :data:`MaskRule`: a share, n of every m, whole tiles, or all below a threshold. Without data their
magnitude decides; with data SparseGPT (Frantar & Alistarh 2023): columns are taken from left to right, what is set to
zero in one is made up for by those to its right, with the same H⁻¹ that scores channels. Arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import linalg

#: Columns among which the zeros of one row are chosen together.
BLOCK_COLUMNS = 128

#: (weights, scores), both (rows, d) -> which weights stay, bool (rows, d); a higher score matters more.
MaskRule = Callable[[np.ndarray, np.ndarray], np.ndarray]


def by_share(share: float) -> MaskRule:
    """All but the ``share`` with the lowest scores, in [0, 1]; ties go in order."""

    def build_mask(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return ~_smallest_mask(scores.ravel(), share).reshape(scores.shape)

    return build_mask


def by_pattern(n: int, m: int) -> MaskRule:
    """Of every ``m`` neighbouring columns the ``n`` with the highest scores; fewer than ``m`` at the end stay."""

    def build_mask(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
        rows, columns = scores.shape
        full_columns = columns - columns % m
        mask = np.ones(scores.shape, bool)
        order = np.argsort(scores[:, :full_columns].reshape(rows, -1, m), axis=2, kind="stable")
        kept_groups = np.zeros((rows, full_columns // m, m), bool)
        np.put_along_axis(kept_groups, order[:, :, m - n :], True, axis=2)
        mask[:, :full_columns] = kept_groups.reshape(rows, full_columns)
        return mask

    return build_mask


def by_tile(share: float, height: int, width: int) -> MaskRule:
    """All but the ``share`` of tiles of ``height`` rows by ``width`` columns with the lowest sums; what is left over at
    the ends stays.
    """

    def build_mask(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
        rows, columns = (size - size % step for size, step in zip(scores.shape, (height, width), strict=True))
        tiles = scores[:rows, :columns].reshape(rows // height, height, columns // width, width).sum(axis=(1, 3))
        kept_tiles = ~_smallest_mask(tiles.ravel(), share).reshape(tiles.shape)
        mask = np.ones(scores.shape, bool)
        mask[:rows, :columns] = np.repeat(np.repeat(kept_tiles, height, axis=0), width, axis=1)
        return mask

    return build_mask


def by_threshold(threshold: float) -> MaskRule:
    """All whose magnitude is at least ``threshold``."""

    def build_mask(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(weights) >= threshold)

    return build_mask


def allocate_sparsity(weights: Sequence[np.ndarray], share: float) -> list[float]:
    """Which share of each layer goes when the smallest ``share`` of all layers together do.

    Layers are compared by magnitude over their own root mean square, or the widest layer would lose the most.

    Args:
        weights: One array for each layer, any shape.
        share: In [0, 1].
    """
    magnitudes = [np.abs(w).ravel() / max(float(np.sqrt(np.mean(np.square(w)))), 1e-30) for w in weights]
    removed = _smallest_mask(np.concatenate([*magnitudes, np.zeros(0)]), share)
    return [float(part.mean()) for part in np.split(removed, np.cumsum([size.size for size in magnitudes])[:-1])]


def apply_sparsegpt(
    weight: np.ndarray, inverse: np.ndarray, mask_rule: MaskRule, *, column_multiple: int = 1, columns: int | None = None
) -> np.ndarray:
    """``weight`` with zeros, the weights that stay moved to make up for them.

    Args:
        weight: float64 (m, d).
        inverse: float64 (d, d), the damped inverse Gram matrix.
        mask_rule: What goes, asked for block after block of columns.
        column_multiple: Blocks are a multiple of so many columns wide.
        columns: Only the first so many columns get zeros; those behind (a bias) are moved. All when None.

    Returns:
        float64 (m, d).
    """
    result = weight.copy()
    prunable_columns = weight.shape[1] if columns is None else columns
    upper = linalg.cholesky(inverse, lower=False, check_finite=False)
    diagonal = np.diag(upper)
    width = max(BLOCK_COLUMNS - BLOCK_COLUMNS % column_multiple, column_multiple)
    for start in range(0, prunable_columns, width):
        stop = min(start + width, prunable_columns)
        block = result[:, start:stop]
        keep = mask_rule(block, np.square(block / diagonal[start:stop]))
        errors = np.zeros((len(result), stop - start))
        for column in range(start, stop):
            mask = keep[:, column - start]
            scaled_loss = np.where(mask, 0.0, result[:, column]) / diagonal[column]
            result[:, column:stop] -= np.outer(scaled_loss, upper[column, column:stop])
            result[~mask, column] = 0.0
            errors[:, column - start] = scaled_loss
        result[:, stop:] -= errors @ upper[start:stop, stop:]
    return result


def _smallest_mask(values: np.ndarray, share: float) -> np.ndarray:
    """The smallest ``share`` of ``values`` (n,), ties in order: bool (n,)."""
    count = round(share * values.size)
    mask = np.zeros(values.size, bool)
    mask[np.argsort(values, kind="stable")[:count]] = True
    return mask
