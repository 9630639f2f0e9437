"""Counts on nested grids: exact under any split of the samples, and good enough to be a histogram."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from onnxslim.quantization.calibration.histograms import (
    CELLS_PER_SIDE,
    Statistics,
    StatisticsAccumulator,
    coarsen,
    compute_exponents,
)
from onnxslim.quantization.calibration.range_methods import NUM_BINS

FLOATS = st.floats(-(2.0**40), 2.0**40, width=32, allow_subnormal=True)
SAMPLES = st.lists(arrays(np.float32, 7, elements=FLOATS), min_size=2, max_size=6)


def count(samples: list[np.ndarray], start: Statistics | None = None) -> Statistics:
    counter = StatisticsAccumulator(["t"], start)
    for sample in samples:
        counter.add(sample.min(keepdims=True), sample.max(keepdims=True), [sample])
    return counter.result()


def assert_same(a: Statistics, b: Statistics) -> None:
    for field in ("lows", "highs", "exponents", "counts"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@given(SAMPLES, st.integers(1, 5))
@settings(deadline=None)
def test_halves_merged_or_resumed_are_exactly_the_whole(samples: list[np.ndarray], cut: int) -> None:
    whole, first, second = count(samples), samples[:cut], samples[cut:]
    if second:
        assert_same(count(first).merge(count(second)), whole)
        assert_same(count(second, count(first)), whole)


@given(SAMPLES)
@settings(deadline=None)
def test_every_value_is_counted_in_the_cell_that_holds_it(samples: list[np.ndarray]) -> None:
    found = count(samples)
    values = np.concatenate(samples).astype(np.float64)
    peak = np.abs(values).max()
    if peak == 0:
        assert found.counts[0, CELLS_PER_SIDE] == values.size
        return
    width = 2.0 ** float(compute_exponents(np.array([peak]))[0])
    assert CELLS_PER_SIDE / 2 * width <= peak < CELLS_PER_SIDE * width
    wanted = np.zeros(2 * CELLS_PER_SIDE, np.int64)
    np.add.at(wanted, np.floor(values / width).astype(np.int64) + CELLS_PER_SIDE, 1)
    np.testing.assert_array_equal(found.counts[0], wanted)


@given(arrays(np.int64, 2 * CELLS_PER_SIDE, elements=st.integers(0, 9)), st.integers(0, 20), st.integers(0, 20))
@settings(deadline=None, max_examples=20)
def test_coarsening_twice_is_coarsening_once(counts: np.ndarray, a: int, b: int) -> None:
    np.testing.assert_array_equal(coarsen(coarsen(counts, a), b), coarsen(counts, a + b))


def test_the_histogram_has_the_exact_range_and_the_means_of_the_extremes() -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=5000).astype(np.float32) * scale for scale in (1, 3, 2)]
    h = count(samples).build_histogram(["t"])
    everything = np.concatenate(samples)
    assert (h.low, h.high) == (float(everything.min()), float(everything.max()))
    assert h.mean_high == np.mean([float(s.max()) for s in samples])
    wanted, _ = np.histogram(everything, NUM_BINS, (h.low, h.high))
    # a cell may lie across the edge of two bins
    assert np.abs(np.cumsum(h.counts) - np.cumsum(wanted)).max() <= 0.002 * everything.size


def test_a_group_shares_the_widest_range() -> None:
    counter = StatisticsAccumulator(["a", "b"])
    counter.add(np.float32([-1, 0]), np.float32([1, 8]), [np.float32([-1, 1]), np.float32([0, 8])])
    h = counter.result().build_histogram(["a", "b"])
    assert (h.low, h.high, int(h.counts.sum())) == (-1.0, 8.0, 4)


def test_zeros_alone_are_counted_at_zero() -> None:
    h = count([np.zeros(4, np.float32)]).build_histogram(["t"])
    assert (h.low, h.high, int(h.counts.sum())) == (0.0, 0.0, 4)
