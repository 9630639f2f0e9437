"""Rounding that keeps sums: near the values, and with the sums nearly right."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxslim.quantization.numerics.sum_rounding import round_keeping_sums


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 25)), elements=st.floats(-126, 126)))
def test_codes_are_neighbours_and_sums_are_right_to_a_half(values: np.ndarray) -> None:
    codes = round_keeping_sums(values, 127)
    assert np.array_equal(codes, np.rint(codes))
    assert np.abs(codes - values).max() < 1 + 1e-9
    if values.shape[1] > 1:
        assert np.abs((codes - values).sum(axis=1)).max() <= 0.5 + 1e-6


def test_no_code_leaves_the_range_and_a_single_weight_is_rounded_to_nearest() -> None:
    rng = np.random.default_rng(0)
    values = np.clip(rng.normal(scale=80, size=(64, 9)), -127, 127)
    assert np.abs(round_keeping_sums(values, 127)).max() <= 127
    single = rng.normal(scale=30, size=(32, 1))
    np.testing.assert_array_equal(round_keeping_sums(single, 127), np.rint(single))


def test_a_smooth_input_comes_out_far_nearer_than_by_nearest_rounding() -> None:
    rng = np.random.default_rng(1)
    values, smooth = rng.normal(scale=20, size=(256, 9)), 1 + 0.02 * rng.normal(size=(9, 100))
    nearest, kept = (np.rint(values), round_keeping_sums(values, 127))
    assert np.square((kept - values) @ smooth).sum() < np.square((nearest - values) @ smooth).sum() / 3
