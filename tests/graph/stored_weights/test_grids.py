"""Codes of weights that were codes before are the same ones; others are as near as their bits allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.graph.stored_weights.grids import ScaleLayout, dequantize, find_exact_scales, quantize_symmetric

LAYOUTS = st.builds(
    ScaleLayout,
    st.sampled_from([None, 0, 1, -1]),
    st.sampled_from([None, 2, 3, 8]),
)
FLOAT32 = np.dtype(np.float32)


@settings(max_examples=60, deadline=None)
@given(LAYOUTS, st.integers(0, 2**32 - 1), st.sampled_from([(4, 6), (5, 7), (3, 4, 3, 3), (8, 64)]))
def test_rows_and_back_is_the_same_array_and_scales_go_with_them(
    layout: ScaleLayout, seed: int, shape: tuple[int, ...]
) -> None:
    array = np.random.default_rng(seed).normal(size=shape)
    rows = layout.to_rows(array)
    np.testing.assert_array_equal(layout.from_rows(rows, shape), array)
    parameters = layout.shape_scales(np.arange(1.0, len(rows) + 1), shape)
    spread = np.broadcast_to(layout.spread(parameters, shape), shape)
    in_rows = layout.to_rows(spread)
    for number, row in enumerate(in_rows, start=1):
        assert set(row[row != 0]) <= {float(number)}


@settings(max_examples=60, deadline=None)
@given(LAYOUTS, st.integers(0, 2**32 - 1), st.sampled_from([7, 127]))
def test_what_was_on_a_grid_is_on_it_again(layout: ScaleLayout, seed: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (6, 48)
    codes = rng.integers(-limit, limit + 1, shape).astype(np.int8)
    count = len(layout.to_rows(codes))
    scales = layout.shape_scales(np.exp(rng.normal(-4, 1, count)).astype(np.float32), shape)
    weights = dequantize(codes, scales, None, layout)
    again = dequantize(*quantize_symmetric(weights, limit, layout, FLOAT32), None, layout)
    np.testing.assert_allclose(again, weights, rtol=2e-5, atol=1e-9)


def test_a_scale_for_all_is_found_channel_by_channel() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-90, 91, (16, 100)).astype(np.int8)
    codes[3] = 0
    weights = codes * np.float32(0.0123)
    scales = find_exact_scales(weights, 127)
    assert scales[3] == 0
    live = np.arange(16) != 3
    steps = weights[live] / scales[live, None]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert np.abs(np.rint(steps)).max() <= 127


def test_arbitrary_weights_lie_on_no_grid_and_get_the_one_their_largest_fits() -> None:
    weights = np.random.default_rng(1).normal(size=(32, 64)).astype(np.float32)
    assert not find_exact_scales(weights, 127).any()
    codes, scales = quantize_symmetric(weights, 127, ScaleLayout(0), FLOAT32)
    assert np.abs(codes).max(axis=1) == pytest.approx(127)
    assert np.abs(dequantize(codes, scales, None, ScaleLayout(0)) - weights).max() <= scales.max() / 2 * (1 + 1e-5)


def test_zeros_have_codes_too() -> None:
    codes, scales = quantize_symmetric(np.zeros((2, 4), np.float32), 127, ScaleLayout(0), np.dtype(np.float16))
    assert not codes.any()
    assert (scales > 0).all()
