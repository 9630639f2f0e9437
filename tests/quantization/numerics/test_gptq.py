"""Rounding that makes up for itself, scales and biases: never worse than rounding to the nearest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.numerics import gptq


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
