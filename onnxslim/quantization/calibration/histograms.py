"""What calibration keeps of each activation: exact extremes of every sample, and counts on a grid that nests.

A cell of a tensor's grid is 2^k wide, k being the least with which the largest magnitude seen still lies on the grid. When
a larger value comes, k grows and pairs of neighbouring cells become one: ⌊⌊x / 2^k⌋ / 2⌋ = ⌊x / 2^(k+1)⌋. So counts do not
depend on the order of the samples, one pass over the data is enough although nobody knows the ranges before, and
statistics of shards add up to exactly those of the whole. Arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxslim.quantization.calibration.range_methods import NUM_BINS, Histogram

#: Cells on either side of zero; one-sided data fill at least half of a side.
CELLS_PER_SIDE = 4096
_LOG2_CELLS = CELLS_PER_SIDE.bit_length() - 1
#: The exponent of a tensor that was never anything but zero; below that of every float32.
EMPTY_EXPONENT = -400


@dataclass(frozen=True)
class Statistics:
    """What calibration saw: extremes and value counts of some tensors over some samples.

    Attributes:
        names: The tensors.
        lows: Exact minimum, float32 (samples, tensors); inf where a tensor had no finite value.
        highs: Exact maximum, float32 (samples, tensors); -inf likewise.
        exponents: k of each tensor's grid, int64 (tensors,).
        counts: int64 (tensors, 2 · CELLS); cell i counts values in [(i − CELLS) · 2^k, (i + 1 − CELLS) · 2^k).
    """

    names: tuple[str, ...]
    lows: np.ndarray
    highs: np.ndarray
    exponents: np.ndarray
    counts: np.ndarray

    @property
    def sample_count(self) -> int:
        """How many samples were seen."""
        return len(self.lows)

    def count_unseen(self) -> int:
        """How many samples had no finite value of any tensor."""
        return int((self.lows > self.highs).all(axis=1).sum())

    def has_seen(self, name: str) -> bool:
        """Whether any sample had a value of the tensor ``name``."""
        return self.low[name] <= self.high[name]

    @cached_property
    def low(self) -> dict[str, float]:
        """The least value of each tensor."""
        return dict(zip(self.names, self.lows.min(axis=0).astype(float).tolist(), strict=True))

    @cached_property
    def high(self) -> dict[str, float]:
        """The greatest value of each tensor."""
        return dict(zip(self.names, self.highs.max(axis=0).astype(float).tolist(), strict=True))

    def merge(self, later: Statistics) -> Statistics:
        """The statistics of these samples and then ``later``'s: exactly what one run over both gives."""
        if self.names != later.names:
            raise ValueError("statistics of different tensors cannot be merged")
        exponents = np.maximum(self.exponents, later.exponents)
        counts = np.zeros_like(self.counts)
        for part in (self, later):
            for column, growth in enumerate((exponents - part.exponents).tolist()):
                counts[column] += coarsen(part.counts[column], growth)
        lows, highs = np.concatenate([self.lows, later.lows]), np.concatenate([self.highs, later.highs])
        return Statistics(self.names, lows, highs, exponents, counts)

    def select(self, names: Sequence[str]) -> Statistics:
        """The statistics of ``names`` alone."""
        columns = [self.names.index(name) for name in names]
        return Statistics(
            tuple(names), self.lows[:, columns], self.highs[:, columns], self.exponents[columns], self.counts[columns]
        )

    @staticmethod
    def join_tensors(parts: Sequence[Statistics]) -> Statistics:
        """Statistics of different tensors over the same samples, put together."""
        if len(parts) == 1:
            return parts[0]
        return Statistics(
            tuple(name for part in parts for name in part.names),
            np.concatenate([part.lows for part in parts], axis=1),
            np.concatenate([part.highs for part in parts], axis=1),
            np.concatenate([part.exponents for part in parts]),
            np.concatenate([part.counts for part in parts]),
        )

    def build_histogram(self, names: Sequence[str]) -> Histogram:
        """One histogram for all of ``names`` (a group that shares its parameters), over their range and zero."""
        columns = [self.names.index(name) for name in names]
        low = min(float(self.lows[:, columns].min()), 0.0)
        high = max(float(self.highs[:, columns].max()), 0.0)
        total = np.zeros(NUM_BINS, np.int64)
        for column in columns:
            filled = np.flatnonzero(self.counts[column])
            centers = np.ldexp(filled + (0.5 - CELLS_PER_SIDE), int(self.exponents[column]))
            index = np.floor((centers - low) / (high - low) * NUM_BINS) if high > low else np.zeros(len(filled))
            total += np.bincount(
                np.clip(index, 0, NUM_BINS - 1).astype(np.int64), self.counts[column, filled], NUM_BINS
            ).astype(np.int64)
        return Histogram(
            low,
            high,
            total,
            min(_mean_of_seen(self.lows[:, columns].min(axis=1)), 0.0),
            max(_mean_of_seen(self.highs[:, columns].max(axis=1)), 0.0),
        )


def _mean_of_seen(extremes: np.ndarray) -> float:
    """The mean over the samples that had any value; 0 without."""
    seen = extremes[np.isfinite(extremes)]
    return float(seen.mean(dtype=np.float64)) if len(seen) else 0.0


class StatisticsAccumulator:
    """Statistics under way.

    Args:
        names: The tensors.
        start: Statistics of the samples before these.
    """

    def __init__(self, names: Sequence[str], start: Statistics | None = None) -> None:
        self._names = tuple(names)
        self._lows = [] if start is None else list(start.lows)
        self._highs = [] if start is None else list(start.highs)
        self._exponents = np.full(len(self._names), EMPTY_EXPONENT) if start is None else start.exponents.copy()
        self._counts = np.zeros((len(self._names), 2 * CELLS_PER_SIDE), np.int64) if start is None else start.counts.copy()

    def __len__(self) -> int:
        return len(self._lows)

    def add(self, lows: np.ndarray, highs: np.ndarray, values: Sequence[np.ndarray]) -> None:
        """One sample: float32 (tensors,) extremes, and some values of each tensor, of any number."""
        self._lows.append(lows)
        self._highs.append(highs)
        needed = compute_exponents(np.maximum(-lows, highs))
        for column, tensor_values in enumerate(values):
            if needed[column] > self._exponents[column]:
                growth = int(needed[column] - self._exponents[column])
                self._counts[column] = coarsen(self._counts[column], growth)
                self._exponents[column] = needed[column]
            # a product with a power of two is exact
            index = np.floor(np.multiply(tensor_values, 2.0 ** -float(self._exponents[column]), dtype=np.float64))
            self._counts[column] += np.bincount(index.astype(np.int64) + CELLS_PER_SIDE, minlength=2 * CELLS_PER_SIDE)

    def result(self) -> Statistics:
        """What was seen so far."""
        shape = (len(self._lows), len(self._names))
        lows = np.asarray(self._lows, np.float32).reshape(shape)
        highs = np.asarray(self._highs, np.float32).reshape(shape)
        return Statistics(self._names, lows, highs, self._exponents.copy(), self._counts.copy())


def compute_exponents(peaks: np.ndarray) -> np.ndarray:
    """The least k with |x| < CELLS · 2^k for every |x| up to the peak, int64; :data:`EMPTY_EXPONENT` for a peak of zero."""
    return np.where(peaks > 0, np.frexp(peaks.astype(np.float64))[1].astype(np.int64) - _LOG2_CELLS, EMPTY_EXPONENT)


def coarsen(counts: np.ndarray, times: int) -> np.ndarray:
    """``counts`` (2 · CELLS,) on the grid whose cells are 2^times wider."""
    if not times or not counts.any():
        return counts
    filled = np.flatnonzero(counts)
    index = ((filled - CELLS_PER_SIDE) >> min(times, 62)) + CELLS_PER_SIDE
    result = np.zeros_like(counts)
    np.add.at(result, index, counts[filled])
    return result
