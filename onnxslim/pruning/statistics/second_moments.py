"""Second moments of a layer's inputs, streamed: all that scoring and least squares need to know about the data.

A layer is a linear map of *rows*: y = W x + b for every position of every sample, with x the unfolded input patch. What
its best weights are depends on the rows only through Σ x xᵀ and Σ y xᵀ, so rows are added up and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np


@dataclass
class SecondMoments:
    """Running sums over rows x (with a one appended, for the bias) and their targets y, for each group of a layer.

    Products are taken in the rows' own precision, of rows that a point near their middle is taken off, and added up in
    float64: as exact as rows in float64 to the rounding of their deviations, at half the price.

    Attributes:
        groups: g; 1 but for grouped convolutions.
        columns: d, the length of x.
        targets: m, the length of y; 0 when only Σ x xᵀ is wanted.
        count: Rows so far.
    """

    groups: int
    columns: int
    targets: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        shape = self.groups, self.targets, self.columns
        # Of u = x - x₀ and v = y - y₀: x₀, y₀, Σ u, Σ v, Σ uᵀu, Σ vᵀu, Σ v².
        self._x0, self._y0 = np.zeros((self.groups, self.columns)), np.zeros((self.groups, self.targets))
        self._u, self._v = np.zeros_like(self._x0), np.zeros_like(self._y0)
        self._uu = np.zeros((self.groups, self.columns, self.columns))
        self._vu, self._vv = np.zeros(shape), np.zeros_like(self._y0)

    def add(self, x: np.ndarray, y: np.ndarray | None = None) -> None:
        """Add rows ``x`` (g, n, d) and, if this has targets, ``y`` (g, n, m), those that are finite; any float dtype."""
        kept = find_finite_rows(x, *(() if y is None else (y,)))
        if not kept.all():
            x, y = x[:, kept], None if y is None else y[:, kept]
        if not x.shape[1]:
            return
        x, y = ensure_float32(x), None if y is None else ensure_float32(y)
        if not self.count:
            self._x0 = mean_row(x)[:, 0].astype(np.float64)
            if y is not None:
                self._y0 = mean_row(y)[:, 0].astype(np.float64)
        self.count += x.shape[1]
        for rows in iterate_chunks(x.shape[1], self.groups):
            u = x[:, rows] - self._x0[:, None].astype(x.dtype)
            self._u += u.sum(axis=1, dtype=np.float64)
            self._uu += u.transpose(0, 2, 1) @ u
            if self.targets and y is not None:
                v = y[:, rows] - self._y0[:, None].astype(y.dtype)
                self._v += v.sum(axis=1, dtype=np.float64)
                self._vu += v.transpose(0, 2, 1) @ u
                self._vv += np.square(v).sum(axis=1, dtype=np.float64)

    @property
    def xx(self) -> np.ndarray:
        """Σ [x 1]ᵀ [x 1]: float64 (g, d + 1, d + 1)."""
        total, n, x0 = self._u + self.count * self._x0, self.count, self._x0
        result = np.empty((self.groups, self.columns + 1, self.columns + 1))
        result[:, :-1, :-1] = self._uu
        result[:, :-1, :-1] += total[:, :, None] * x0[:, None] + x0[:, :, None] * (total - n * x0)[:, None]
        result[:, -1, :-1] = result[:, :-1, -1] = total
        result[:, -1, -1] = n
        return result

    @property
    def mean_xx(self) -> np.ndarray:
        """:attr:`xx` per row."""
        result = self.xx
        result /= max(self.count, 1)
        return result

    @property
    def yx(self) -> np.ndarray:
        """Σ yᵀ [x 1]: float64 (g, m, d + 1)."""
        total = self._v + self.count * self._y0
        result = np.empty((self.groups, self.targets, self.columns + 1))
        result[..., :-1] = self._vu + total[:, :, None] * self._x0[:, None] + self._y0[:, :, None] * self._u[:, None]
        result[..., -1] = total
        return result

    def shift(self, offset: np.ndarray) -> SecondMoments:
        """The moments of the rows x + ``offset`` (g, d)."""
        result = copy(self)
        result._x0 = self._x0 + offset
        return result

    def __add__(self, other: SecondMoments) -> SecondMoments:
        """The moments of both sets of rows."""
        return self._combine(other, 1) if self.count else other

    def __sub__(self, other: SecondMoments) -> SecondMoments:
        """The moments of these rows without the ``other``, which are among them."""
        return self._combine(other, -1)

    def _combine(self, other: SecondMoments, sign: int) -> SecondMoments:
        """The sums of these rows and ``sign`` times those of the others."""
        total, recentered = copy(self), other._recenter(self._x0, self._y0)
        total.count += sign * other.count
        for name in ("_u", "_v", "_uu", "_vu", "_vv"):
            setattr(total, name, getattr(self, name) + sign * getattr(recentered, name))
        return total

    def _recenter(self, x0: np.ndarray, y0: np.ndarray) -> SecondMoments:
        """The same rows about another point."""
        result, n = copy(self), self.count
        dx, dy = self._x0 - x0, self._y0 - y0
        result._x0, result._y0 = x0, y0
        result._u, result._v = self._u + n * dx, self._v + n * dy
        result._uu = self._uu + result._u[:, :, None] * dx[:, None] + dx[:, :, None] * self._u[:, None]
        result._vu = self._vu + result._v[:, :, None] * dx[:, None] + dy[:, :, None] * self._u[:, None]
        result._vv = self._vv + 2 * dy * self._v + n * dy**2
        return result

    def variance(self) -> float:
        """Σ (y - mean y)² over all targets: what an error is measured against."""
        return float(np.sum(self._vv - self._v**2 / max(self.count, 1)))


#: Rows whose products are added up in their own precision, of all groups together, and of one at least.
ROWS_PER_CHUNK, MIN_ROWS_PER_CHUNK = 4096, 128


def iterate_chunks(rows: int, groups: int) -> Iterator[slice]:
    """``rows`` of each of ``groups``, some at a time."""
    size = max(ROWS_PER_CHUNK // groups, MIN_ROWS_PER_CHUNK)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


#: What is larger is no number that a layer computes with but the lowest float of its kind, as masks have it and as the
#: runtime's MaxPool gives it for a window of -inf; its square is none any more.
MAX_MAGNITUDE = np.float32(1e15)


def find_finite_rows(*arrays: np.ndarray) -> np.ndarray:
    """Which of the rows of ``arrays``, (g, n, …) each, are finite in all of them, bool (n,): of a row that is masked out, or
    holds what nobody reads, nothing can be learnt. Numbers beyond :data:`MAX_MAGNITUDE` stand for infinity.
    """
    within = [(array < MAX_MAGNITUDE) & (array > -MAX_MAGNITUDE) for array in arrays]  # of NaN neither holds
    return np.asarray(np.logical_and.reduce([known.all(axis=(0, 2)) for known in within]))


def ensure_float32(rows: np.ndarray) -> np.ndarray:
    """``rows`` in float32, or in the wider dtype that they have."""
    return rows if rows.dtype.itemsize >= 4 else rows.astype(np.float32)


def mean_row(rows: np.ndarray) -> np.ndarray:
    """The mean of ``rows`` (g, n, k): (g, 1, k), in their dtype; 0 where there are none."""
    if not rows.shape[1]:
        return np.zeros((rows.shape[0], 1, rows.shape[2]), rows.dtype)
    return np.asarray(rows.mean(axis=1, keepdims=True, dtype=np.float64).astype(rows.dtype))


#: Scores: of so many samples the last is held back, to choose λ by and to measure effects on. Repair: so many folds.
HOLDOUT_PERIOD = 5


def find_row_origins(indices: Sequence[int] | range, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Which sample each of ``rows`` is of, as many for each of the samples at ``indices``, and in which fold it is.

    Rows that cannot be told apart by sample are all of the first of them, and in the first fold.

    Returns:
        int64 (rows,), int64 (rows,): samples, and folds in 0 … :data:`HOLDOUT_PERIOD` - 1, the last of which is held back.
    """
    rows_per_sample, remainder = divmod(rows, max(len(indices), 1))
    if remainder:
        return np.full(rows, indices[0]), np.zeros(rows, np.int64)
    samples = np.repeat(np.asarray(indices), rows_per_sample)
    return samples, samples % HOLDOUT_PERIOD


def holdout_mask(indices: Sequence[int] | range, rows: int) -> np.ndarray:
    """Which of ``rows``, as many for each of the samples at ``indices``, belong to samples held back: bool (rows,)."""
    return np.asarray(find_row_origins(indices, rows)[1] == HOLDOUT_PERIOD - 1)


#: Rows for every column of a layer; rows at least; numbers in all rows at most, of all groups together of a grouped layer,
#: whose groups are small; positions of one sample at most.
ROWS_PER_COLUMN, MIN_ROWS, MAX_VALUES, MAX_GROUPED_VALUES, MAX_POSITIONS = 16, 8192, 64_000_000, 32_000_000, 50


def positions_per_sample(columns: int, samples: int, groups: int = 1) -> int:
    """How many positions of each of ``samples`` become rows of a layer: at least 1, at most 50.

    Args:
        columns: What one group of the layer reads.
        samples: How many there are.
        groups: Of the layer.
    """
    enough = ROWS_PER_COLUMN * columns
    rows = min(max(enough, MIN_ROWS), MAX_VALUES // max(columns, 1))
    if groups > 1:
        rows = min(rows, max(enough, MAX_GROUPED_VALUES // max(columns * groups, 1)))
    return int(np.clip(-(-rows // max(samples, 1)), 1, MAX_POSITIONS))


def sample_positions(
    size: int,
    per_sample: int,
    first_sample: int,
    count: int,
    rng_seed: Sequence[int],
    *,
    read: np.ndarray | None = None,
) -> np.ndarray:
    """Which output positions to keep of samples ``first_sample`` … ``first + count``: int64 (count, min(each, size)).

    The samples walk through one seeded permutation of the positions, each going on where the one before it stopped: all
    positions are used equally often, borders included, and the choice does not depend on how samples are batched.
    Where ``read``, bool (count, size), is given, they step over positions that nobody reads while others are left.
    """
    if size <= per_sample:
        return np.tile(np.arange(size), (count, 1))
    order = np.random.default_rng(list(rng_seed)).permutation(size)
    starts = np.arange(first_sample, first_sample + count)[:, None] * per_sample
    if read is None:
        return np.asarray(order[(starts + np.arange(per_sample)) % size])
    walks = order[(starts + np.arange(size)) % size]
    read_first = np.argsort(~np.take_along_axis(read, walks, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(walks, read_first[:, :per_sample], axis=1))
