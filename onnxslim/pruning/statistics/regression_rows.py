"""A layer's inputs and targets, row by row, where targets behind a flat part of an activation are sets, not points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxslim.pruning.statistics.second_moments import (
    SecondMoments,
    ensure_float32,
    find_finite_rows,
    iterate_chunks,
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
        overwrite_x: Whether ``x`` is this object's to change: rows are large.
        blocks: int (n,), which sample each row is of, samples one after the other; by default each of its own.

    Attributes:
        blocks: The same of the rows that are left.
        has_flat_targets: Whether any outputs are alike.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        low: np.ndarray | float = -np.inf,
        high: np.ndarray | float = np.inf,
        has_bias: bool = True,
        *,
        overwrite_x: bool = False,
        blocks: np.ndarray | None = None,
    ) -> None:
        kept = find_finite_rows(x, y)
        if not kept.all():
            x, y = x[:, kept], y[:, kept]
            blocks = None if blocks is None else blocks[kept]
            low = low[:, kept] if isinstance(low, np.ndarray) and low.ndim == 3 else low
            high = high[:, kept] if isinstance(high, np.ndarray) and high.ndim == 3 else high
        x, y = ensure_float32(x), ensure_float32(y)
        self.has_bias = has_bias
        self.blocks = np.arange(x.shape[1]) if blocks is None else blocks
        self._mean_row = mean_row(x)
        self._x = np.subtract(x, self._mean_row, out=x if overwrite_x else None)
        self._y, self._low, self._high = y, low, high
        self.has_flat_targets = bool(np.isfinite(low).any() or np.isfinite(high).any())

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

    def target_moments(self) -> SecondMoments:
        """The moments of y alone."""
        sums = SecondMoments(self._x.shape[0], 0, self._y.shape[2])
        sums.add(self._x[..., :0], self._y)
        return sums

    def chunks(self) -> Iterator[slice]:
        """The rows, some at a time: what is computed of all of them need not be held."""
        return iterate_chunks(len(self), self._x.shape[0])

    def predict(self, weight: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """W [x 1] for ``weight`` (g, m, d + 1): (g, n, m) of ``rows``, in the dtype of x."""
        result = self._x[:, rows] @ weight[..., :-1].transpose(0, 2, 1).astype(self._x.dtype)
        result += self.mean_output(weight)[:, None].astype(result.dtype)
        return np.asarray(result)

    def mean_output(self, weight: np.ndarray) -> np.ndarray:
        """The mean of :meth:`predict` over all rows: (g, m), in the dtype of ``weight``."""
        return np.asarray(weight[..., -1] + np.einsum("gmd,gd->gm", weight[..., :-1], self._mean_row[:, 0]))

    def residual(self, output: np.ndarray, rows: slice = slice(None), *, points: bool = False) -> np.ndarray:
        """How far each ``predict`` (g, n, m) of ``rows`` is from the nearest value that is as good as its target: (g, n, m).

        With ``points`` from the target itself.
        """
        y = self._y[:, rows]
        if points or not self.has_flat_targets:
            return np.asarray(y - output)
        low, high = (b[:, rows] if isinstance(b, np.ndarray) and b.ndim == 3 else b for b in (self._low, self._high))
        # the least and the largest value that is as good as each target
        lowest = np.where(y <= low, -np.inf, np.minimum(y, high)).astype(y.dtype)
        highest = np.where(y >= high, np.inf, np.maximum(y, low)).astype(y.dtype)
        result = np.clip(output, lowest, highest)
        result -= output
        return np.asarray(result)

    def squared_error(self, weight: np.ndarray) -> float:
        """Σ of the squares of what is :meth:`residual`."""
        return float(self.squared_errors(weight).sum())

    def squared_errors(self, weight: np.ndarray, *, points: bool = False) -> np.ndarray:
        """The same for each output: float64 (g, m)."""
        result = np.zeros((self._x.shape[0], self._y.shape[2]))
        for rows in self.chunks():
            residual = self.residual(self.predict(weight, rows), rows, points=points)
            result += np.square(residual).sum(axis=1, dtype=np.float64)
        return result

    def residual_moments(self, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Σ r² and Σ rᵀ [x 1] of what is :meth:`residual`: the latter float64 (g, m, d + 1)."""
        error, cross = 0.0, np.zeros((self._x.shape[0], self._y.shape[2], self.columns + 1))
        for rows in self.chunks():
            residual = self.residual(self.predict(weight, rows), rows)
            error += sum_of_squares(residual)
            cross[..., :-1] += residual.transpose(0, 2, 1) @ self._x[:, rows]
            cross[..., -1] += residual.sum(axis=1, dtype=np.float64)
        cross[..., :-1] += cross[..., -1:] * self._mean_row
        return error, cross


def sum_of_squares(array: np.ndarray) -> float:
    """Σ a², added up in float64."""
    return float(np.sum(np.square(array), dtype=np.float64))
