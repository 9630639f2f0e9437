"""Second moments of a layer's inputs, streamed: all that scoring and least squares need to know about the data.

A layer is a linear map of *rows*: y = W x + b for every position of every sample, with x the unfolded input patch. What
its best weights are depends on the rows only through Σ x xᵀ and Σ y xᵀ, so rows are added up and forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Moments:
    """Running sums over rows x (with a one appended, for the bias) and their targets y, for each group of a layer.

    Attributes:
        groups: g; 1 but for grouped convolutions.
        columns: d, the length of x.
        targets: m, the length of y; 0 when only Σ x xᵀ is wanted.
        count: Rows so far.
        xx: float64 (g, d + 1, d + 1), Σ [x 1]ᵀ [x 1].
        yx: float64 (g, m, d + 1), Σ yᵀ [x 1].
        yy: float64 (g, m), Σ y².
    """

    groups: int
    columns: int
    targets: int = 0
    count: int = 0
    xx: np.ndarray = field(init=False, repr=False)
    yx: np.ndarray = field(init=False, repr=False)
    yy: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.xx = np.zeros((self.groups, self.columns + 1, self.columns + 1))
        self.yx = np.zeros((self.groups, self.targets, self.columns + 1))
        self.yy = np.zeros((self.groups, self.targets))

    def add(self, x: np.ndarray, y: np.ndarray | None = None) -> None:
        """Add rows ``x`` (g, n, d) and, if this has targets, ``y`` (g, n, m); any float dtype, summed in float64."""
        self.count += x.shape[1]
        for start in range(0, x.shape[1], CHUNK):
            rows = with_ones(x[:, start : start + CHUNK])
            self.xx += rows.transpose(0, 2, 1) @ rows
            if self.targets and y is not None:
                exact = y[:, start : start + CHUNK].astype(np.float64)
                self.yx += exact.transpose(0, 2, 1) @ rows
                self.yy += np.einsum("gnm,gnm->gm", exact, exact)

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of rows."""
        total = Moments(self.groups, self.columns, self.targets, self.count + other.count)
        total.xx = self.xx + other.xx
        total.yx = self.yx + other.yx
        total.yy = self.yy + other.yy
        return total

    def error(self, weight: np.ndarray) -> np.ndarray:
        """Σ (y - W [x 1])² per target: float64 (g, m), for ``weight`` (g, m, d + 1) with the bias last."""
        own = np.einsum("gmd,gmd->gm", weight @ self.xx, weight)
        return np.asarray(self.yy - 2 * np.einsum("gmd,gmd->gm", weight, self.yx) + own)

    def variance(self) -> float:
        """Σ (y - mean y)² over all targets: what an error is measured against."""
        return float(np.sum(self.yy - self.yx[..., -1] ** 2 / max(self.count, 1)))


#: Rows that are turned to float64 at a time.
CHUNK = 4096


def with_ones(x: np.ndarray) -> np.ndarray:
    """``x`` (g, n, d) in float64 with a column of ones: (g, n, d + 1)."""
    rows = np.empty((*x.shape[:2], x.shape[2] + 1))
    rows[..., :-1] = x
    rows[..., -1] = 1.0
    return rows


#: Of so many samples the last is held back: nothing is fitted on it, and what there is to choose is chosen on it.
HOLD = 5


def is_held(indices: Sequence[int] | range, rows: int) -> np.ndarray:
    """Which of ``rows``, as many for each of the samples at ``indices``, belong to samples held back: bool (rows,).

    Rows that cannot be told apart by sample are all fitted on.
    """
    each, odd = divmod(rows, max(len(indices), 1))
    return np.zeros(rows, bool) if odd else np.repeat(np.asarray(indices) % HOLD == HOLD - 1, each)


@dataclass(frozen=True)
class Window:
    """How a convolution reads its input; one entry per spatial axis.

    Attributes:
        kernel: Kernel size.
        strides: Step of the output's positions.
        dilations: Step within the kernel.
        begins: Zeros before the first element.
        ends: Zeros after the last.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def output(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the output for an input of sizes ``spatial``."""
        return tuple(
            (size + b + e - d * (k - 1) - 1) // s + 1
            for size, k, s, d, b, e in zip(
                spatial, self.kernel, self.strides, self.dilations, self.begins, self.ends, strict=True
            )
        )


def unfold(x: np.ndarray, window: Window, positions: np.ndarray) -> np.ndarray:
    """The input patches at some output positions, in the order of a Conv's weight.

    Args:
        x: (n, c, *spatial).
        window: The convolution's geometry.
        positions: int64 (n, p), flat output positions of each sample.

    Returns:
        (n, p, c, prod(kernel)), the dtype of ``x``.
    """
    n, channels = x.shape[:2]
    out = window.output(x.shape[2:])
    padded = np.pad(x, [(0, 0), (0, 0), *zip(window.begins, window.ends, strict=True)])
    corners = [i * s for i, s in zip(np.unravel_index(positions, out), window.strides, strict=True)]
    sample = np.arange(n)[:, None]
    patches = np.empty((*positions.shape, channels, math.prod(window.kernel)), x.dtype)
    for tap, offset in enumerate(np.ndindex(*window.kernel)):
        place = tuple(c + o * d for c, o, d in zip(corners, offset, window.dilations, strict=True))
        patches[..., tap] = padded[(sample, slice(None), *place)]
    return patches


#: Rows for every column of a layer; rows at least; numbers in all rows at most; positions of one sample at most.
ROWS_PER_COLUMN, FEWEST, NUMBERS, MOST = 16, 8192, 64_000_000, 50


def positions_each(columns: int, samples: int) -> int:
    """How many positions of each of ``samples`` become rows of a layer of so many ``columns``: at least 1, at most 50."""
    rows = min(max(ROWS_PER_COLUMN * columns, FEWEST), NUMBERS // max(columns, 1))
    return int(np.clip(-(-rows // max(samples, 1)), 1, MOST))


def sample_positions(size: int, each: int, first: int, count: int, rng_seed: Sequence[int]) -> np.ndarray:
    """Which output positions to keep of samples ``first`` … ``first + count``: int64 (count, min(each, size)).

    The samples walk through one seeded permutation of the positions, each going on where the one before it stopped: all
    positions are used equally often, borders included, and the choice does not depend on how samples are batched.
    """
    if size <= each:
        return np.tile(np.arange(size), (count, 1))
    order = np.random.default_rng(list(rng_seed)).permutation(size)
    return np.asarray(order[(np.arange(first, first + count)[:, None] * each + np.arange(each)) % size])
