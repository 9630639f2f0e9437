"""Scales and zero points: what a range can hold, and what it rounds to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.quantization.numerics import affine

finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite)
def test_an_activation_range_holds_zero_exactly_and_its_ends_within_a_step(a: float, b: float) -> None:
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    encoding = affine.compute_activation_encoding(a if a < b else b, b if a < b else a)
    assert encoding.dequantize(encoding.quantize(np.zeros(1, np.float32)))[0] == 0.0
    if high - low > 1e-20:
        ends = np.array([low, high], np.float32)
        assert np.abs(encoding.dequantize(encoding.quantize(ends)) - ends).max() <= 1.01 * float(encoding.scale)


@given(st.floats(2**-7, 1000, width=32))
def test_a_range_that_starts_at_zero_never_passes_its_upper_end(high: float) -> None:
    encoding = affine.compute_activation_encoding(0.0, high)
    assert encoding.zero_point == 0
    assert float(encoding.scale) * 255.0 <= high


def test_a_tiny_channel_with_a_real_bias_cannot_overflow_int32() -> None:
    weight = np.array([[1e-12, -1e-12], [0.5, 0.25]], np.float32)
    scales = affine.compute_weight_scales(weight, 0, bias=np.array([3.0, 1.0], np.float32), input_scale=1e-3)
    assert np.all(np.abs([3.0, 1.0] / (scales.astype(np.float64) * 1e-3)) < 2**31)


def test_an_empty_channel_gets_a_usable_scale() -> None:
    scales = affine.compute_weight_scales(np.zeros((2, 3), np.float32), 0)
    assert np.all(scales > 0)
    assert np.all(np.isfinite(1 / scales))


def test_what_is_no_number_or_too_large_for_one_has_a_code_on_every_machine() -> None:
    encoding = affine.compute_activation_encoding(-1.0, 3.0)
    codes = encoding.quantize(np.array([np.nan, 3e38, -3e38, np.inf, -np.inf, 0.0], np.float32))
    assert codes.tolist() == [0, 255, 0, 255, 0, int(encoding.zero_point)]
