"""A layer's inputs and targets, row by row, where targets behind a flat part of an activation are sets, not points."""

from __future__ import annotations

import numpy as np

from onnxslim.pruning.statistics.second_moments import (
    ROWS_PER_CHUNK,
    SecondMoments,
    ensure_float32,
    find_finite_rows,
    mean_row,
)


class RegressionRows:
    """What a layer reads and what it should give out; rows that are not finite are left out.

    An output that a Relu would cut anyway may be any negative number: a target at or below ``low`` stands for all
    outputs at or below it, and one at or above ``high`` for all at or above that.

    Args:
        x: (g, n, d), what the layer reads.
        y: (g, n, m), its targets.
        low: (g, n, m) or a number: outputs at or below this are all alike to what follows (a Relu's 0); -inf for none.
        high: The same from above (a Clip's upper bound); inf for none.
        has_bias: Whether there is a place for a bias.

    Attributes:
        has_flat_targets: Whether any outputs are alike.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        low: np.ndarray | float = -np.inf,
        high: np.ndarray | float = np.inf,
        has_bias: bool = True,
    ) -> None:
        kept = find_finite_rows(x, y)
        if not kept.all():
            x, y = x[:, kept], y[:, kept]
            low = low[:, kept] if isinstance(low, np.ndarray) and low.ndim == 3 else low
            high = high[:, kept] if isinstance(high, np.ndarray) and high.ndim == 3 else high
        x, y = ensure_float32(x), ensure_float32(y)
        self.has_bias = has_bias
        self._mean_row = mean_row(x)
        self._x = x - self._mean_row
        self._y = y
        self.has_flat_targets = bool(np.isfinite(low).any() or np.isfinite(high).any())
        # The least and the largest value that is as good as each target.
        self._lowest = np.where(y <= low, -np.inf, np.minimum(y, high)).astype(y.dtype) if self.has_flat_targets else y
        self._highest = np.where(y >= high, np.inf, np.maximum(y, low)).astype(y.dtype) if self.has_flat_targets else y

    def __len__(self) -> int:
        """n, the number of rows."""
        return int(self._x.shape[1])

    @property
    def columns(self) -> int:
        """d, the number of columns of x."""
        return int(self._x.shape[2])

    def moments(self) -> SecondMoments:
        """The second moments of x and y."""
        sums = SecondMoments(self._x.shape[0], self._x.shape[2], self._y.shape[2])
        sums.add(self._x, self._y)
        return sums.shift(self._mean_row[:, 0].astype(np.float64))

    def predict(self, weight: np.ndarray) -> np.ndarray:
        """W [x 1] for ``weight`` (g, m, d + 1): (g, n, m), in the dtype of x."""
        bias = weight[..., -1] + np.einsum("gmd,gd->gm", weight[..., :-1], self._mean_row[:, 0])
        result = self._x @ weight[..., :-1].transpose(0, 2, 1).astype(self._x.dtype)
        result += bias[:, None].astype(result.dtype)
        return np.asarray(result)

    def residual(self, output: np.ndarray, *, points: bool = False) -> np.ndarray:
        """How far each ``predict`` (g, n, m) is from the nearest value that is as good as its target: (g, n, m).

        With ``points`` from the target itself.
        """
        if points or not self.has_flat_targets:
            return np.asarray(self._y - output)
        result = np.clip(output, self._lowest, self._highest)
        result -= output
        return np.asarray(result)

    def squared_error(self, weight: np.ndarray, *, points: bool = False) -> float:
        """Σ of the squares of what is :meth:`residual`."""
        return sum_of_squares(self.residual(self.predict(weight), points=points))

    def cross_moments(self, residuals: np.ndarray) -> np.ndarray:
        """Σ rᵀ [x 1] for what is ``residual`` (g, n, m): float64 (g, m, d + 1)."""
        result = np.zeros((residuals.shape[0], residuals.shape[2], self.columns + 1))
        for start in range(0, len(self), ROWS_PER_CHUNK):
            chunk = slice(start, start + ROWS_PER_CHUNK)
            result[..., :-1] += residuals[:, chunk].transpose(0, 2, 1) @ self._x[:, chunk]
            result[..., -1] += residuals[:, chunk].sum(axis=1, dtype=np.float64)
        result[..., :-1] += result[..., -1:] * self._mean_row
        return result


def sum_of_squares(array: np.ndarray) -> float:
    """Σ a², added up in float64."""
    return float(np.sum(np.square(array), dtype=np.float64))
