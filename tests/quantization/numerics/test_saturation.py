"""No two neighbouring products saturate where weights are narrowed, and no channel loses more than it must."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.numerics import saturation
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight

_RNG = np.random.default_rng(0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.sampled_from([0.2, 1.0, 5.0]), st.integers(0, 2**31))
def test_no_two_neighbours_can_saturate_and_channels_lose_no_more_than_they_must(
    outputs: int, inputs: int, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((inputs, outputs)) * np.exp(spread * rng.standard_normal((1, outputs)))).astype(np.float32)
    wide, narrow = compute_weight_scales(w, 1), compute_weight_scales(w, 1, reduce_range=True)
    codes = quantize_weight(w, narrow, 1).astype(np.int64)
    padded = np.pad(codes, ((0, codes.shape[0] % 2), (0, 0)))
    sums = np.abs(np.where(np.sign(padded[::2]) == np.sign(padded[1::2]), padded[::2] + padded[1::2], 0))
    assert sums.max(initial=0) <= saturation.MAX_PAIR_SUM
    assert not saturation.find_saturating_channels(codes, 1).any()
    safe = ~saturation.find_saturating_channels(quantize_weight(w, wide, 1), 1)
    assert np.all(narrow[safe] <= wide[safe] * 1.02)
    assert np.all(narrow <= wide * 2.01)


def test_most_channels_keep_more_than_7_bits() -> None:
    w = _RNG.standard_normal((576, 64)).astype(np.float32)
    tops = np.abs(quantize_weight(w, compute_weight_scales(w, 1, reduce_range=True), 1)).max(axis=0)
    assert np.median(tops) > 90  # 7 bits would be 63


def test_a_convolutions_pairs_are_looked_at_in_both_layouts() -> None:
    w = np.zeros((2, 4, 2, 2), np.float32)
    w[0, :2, 0, 0] = 1.0  # neighbours where channels come last
    w[1, 0, 0, :2] = 1.0  # neighbours where channels come first
    np.testing.assert_allclose(saturation.largest_pair_sums(w, 0), 2.0)
