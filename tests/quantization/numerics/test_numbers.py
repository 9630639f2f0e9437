"""Scales, ranges, histograms, patches and rounding against plain references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from onnxslim.core.errors import UsageError
from onnxslim.quantization.calibration import range_methods
from onnxslim.quantization.calibration.range_methods import NUM_BINS, Histogram
from onnxslim.quantization.numerics import affine, gptq, im2col

finite = st.floats(-1e6, 1e6, width=32)


def histogram(x: np.ndarray) -> Histogram:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    counts, _ = np.histogram(x, NUM_BINS, (low, high if high > low else low + 1))
    return Histogram(low, high, counts.astype(np.int64), low, high)


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


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_mse_is_no_worse_than_any_other_range_by_its_own_measure(seed: int) -> None:
    x = np.random.default_rng(seed).standard_t(2, 20_000)
    h = histogram(x)
    best = range_methods.expected_error(h, *range_methods.mse(h))
    for method in (range_methods.minmax, range_methods.percentile, range_methods.entropy):
        assert best <= range_methods.expected_error(h, *method(h)) * 1.01


def test_the_least_error_is_taken_for_each_tensor_from_whichever_method_has_it() -> None:
    rng = np.random.default_rng(0)
    taken = []
    for x in (rng.uniform(0, 1, 20_000), np.append(rng.normal(size=20_000), 1e3), rng.standard_t(3, 20_000)):
        h = histogram(x)
        name, ends = range_methods.choose_method(h)
        taken.append(name)
        tried = {key: range_methods.RANGE_METHODS[key](h) for key in ("mse", "percentile", "averaged", "minmax")}
        errors = {key: range_methods.expected_error(h, *ends) for key, ends in tried.items()}
        assert range_methods.expected_error(h, *ends) == min(errors.values()) == errors[name]
        assert range_methods.parse_method("least")(h) == ends
    assert taken[0] == "minmax"
    assert "mse" in taken


def test_the_expected_error_is_what_quantising_really_costs() -> None:
    x = np.random.default_rng(0).normal(size=200_000)
    h = histogram(x)
    for low, high in ((-4.0, 4.0), (-2.0, 2.5), (-1.0, 1.0)):
        encoding = affine.compute_activation_encoding(low, high)
        real = float(np.mean((encoding.dequantize(encoding.quantize(x)) - x) ** 2))
        assert range_methods.expected_error(h, low, high) == pytest.approx(real, rel=0.05)


def test_a_percentile_leaves_out_its_tail() -> None:
    x = np.concatenate([np.random.default_rng(0).uniform(0, 1, 100_000), [1000.0]])
    assert range_methods.parse_method("percentile:99.9")(histogram(x))[1] < 2.0


@pytest.mark.parametrize("text", ["percentil", "percentile:101", "percentile:3", "percentile:"])
def test_an_unknown_method_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="unknown"):
        range_methods.parse_method(text)


def test_unfolded_patches_times_weights_is_the_convolution() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 9, 8)), rng.normal(size=(4, 3, 3, 3))
    window = im2col.PatchGeometry((3, 3), (2, 1), (1, 2), (1, 2), groups=2)
    padded = np.pad(x, ((0, 0), (1, 1), (2, 2)))
    expected = np.zeros((4, 5, 8))
    for out in range(4):
        for c in range(3):
            kernel = np.zeros((3, 5))
            kernel[:, ::2] = w[out, c]
            expected[out] += correlate(padded[3 * (out // 2) + c], kernel, "valid")[::2]
    rows = im2col.unfold(x, window, np.arange(40), (5, 8))
    got = np.einsum("gpd,god->gop", rows, w.reshape(2, 2, -1)).reshape(4, 5, 8)
    np.testing.assert_allclose(got, expected, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 27), st.integers(0, 2**31))
def test_outputs_of_few_inputs_get_a_scale_that_holds_them_and_no_worse_codes(
    groups: int, outputs: int, size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((groups, outputs, size))
    x = rng.standard_normal((groups, 200, size)) + rng.standard_normal((groups, 200, 1))
    gram = x.transpose(0, 2, 1) @ x / 200
    least = (np.abs(w).max(axis=2) / 127).astype(np.float32)
    codes, scales = gptq.search_scales(w, gram, least, 127)
    assert codes.dtype == np.int8
    assert scales.dtype == np.float32
    assert (scales >= least).all()
    assert (scales <= 1.2501 * least).all()

    def error(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
        gap = w - codes * scales[:, :, None].astype(np.float64)
        return np.asarray(np.einsum("god,gde,goe->go", gap, gram, gap))

    assert (error(codes, scales) <= error(gptq.round_gptq(w, gram, least.astype(np.float64), 127), least) + 1e-12).all()


@pytest.mark.parametrize(("groups", "outputs", "size"), [(1, 8, 40), (16, 1, 9), (2, 4, 130)])
def test_error_feedback_rounds_no_worse_than_nearest(groups: int, outputs: int, size: int) -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(groups, size, size)) / 4
    x = rng.normal(size=(groups, 2000, size)) @ mix
    w = rng.normal(size=(groups, outputs, size))
    rows = gptq.make_sampled_rows(x, x @ w.transpose(0, 2, 1))
    scales = np.abs(w).max(axis=2) / 7.0
    nearest = np.clip(np.rint(w / scales[:, :, None]), -7, 7) * scales[:, :, None]
    fed_back = gptq.round_gptq(w, gptq.compute_hessian(rows), scales, 7) * scales[:, :, None]
    better, plain = gptq.compute_output_errors(rows, fed_back, nearest)
    assert better < 0.8 * plain


def test_the_bias_makes_outputs_behind_a_relu_right() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(1, 3, 10))
    x = rng.normal(size=(1, 1000, 10))
    rows = gptq.make_sampled_rows(x * 0.7 + 0.2, x @ w.transpose(0, 2, 1) * 0.7 + 0.5)
    bias = gptq.fit_bias(rows, w, np.zeros((1, 3)), (0.0, np.inf))
    ours = np.maximum(rows.x @ w.transpose(0, 2, 1) + bias, 0).mean(axis=1)
    np.testing.assert_allclose(ours, np.maximum(rows.y, 0).mean(axis=1), rtol=0.02)


def test_one_wild_sample_does_not_move_the_bias() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(1, 3, 10))
    x = rng.normal(size=(1, 1000, 10))
    y = x @ w.transpose(0, 2, 1) + 0.5
    y[:, :20] += 1000.0
    bias = gptq.fit_bias(gptq.make_sampled_rows(x, y), w, np.zeros((1, 3)))
    np.testing.assert_allclose(bias, 0.5, atol=1e-3)
