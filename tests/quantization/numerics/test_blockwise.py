"""Weights in blocks: how far codes are off, what GPTQ gains, packing and its inverse."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.numerics import blockwise


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 300), st.sampled_from([4, 8]), st.integers(0, 2**31))
def test_a_block_is_off_by_half_a_step_at_most_where_its_range_was_not_cut(n: int, k: int, bits: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)
    found = blockwise.quantize_blockwise(weight, bits)
    assert found.codes.shape == (n, -(-k // found.block_size), found.block_size * bits // 8)
    error = np.abs(found.dequantize() - weight)
    steps = np.repeat(np.abs(found.scales), found.block_size, axis=1)[:, :k]
    inside = np.abs(weight) <= steps * (2 ** (bits - 1) - 1)
    assert np.all(error[inside] <= 0.5001 * steps[inside])


def test_cutting_a_range_of_4_bits_lowers_the_error() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    found = blockwise.quantize_blockwise(weight, 4)
    groups = weight.reshape(64, -1, 32)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=2, keepdims=True), axis=2)
    plain = np.clip(np.rint(groups / (-largest / 8)), -8, 7) * (-largest / 8)
    assert np.square(found.dequantize() - weight).sum() < 0.95 * np.square(plain - groups).sum()


def test_packing_two_codes_a_byte_can_be_undone() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (3, 5, 8)).astype(np.uint8)
    np.testing.assert_array_equal(blockwise.unpack(blockwise.pack(codes)), codes)


def correlated(rows: int, columns: int, seed: int) -> np.ndarray:
    """Inputs as layers see them: positive, with a mean, a few directions carrying most."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((rows, 8)) @ rng.standard_normal((8, columns))
    return np.abs(few + 0.3 * rng.standard_normal((rows, columns))).astype(np.float32)


def moments(x: np.ndarray) -> np.ndarray:
    return np.cov(x.T.astype(np.float64), bias=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 32), st.integers(128, 300), st.integers(0, 2**31))
def test_what_each_rounding_loses_is_made_up_by_the_weights_to_come(n: int, k: int, seed: int) -> None:
    w = np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)
    x = correlated(4 * k + 64, k, seed)
    found, nearest = blockwise.quantize_gptq(w, moments(x)), blockwise.quantize_blockwise(w, 4)
    assert found.codes.shape == (n, -(-k // blockwise.GPTQ_BLOCK_SIZE), blockwise.GPTQ_BLOCK_SIZE // 2)
    lost = [np.square((x - x.mean(0)) @ (w - one.dequantize()).T).sum() for one in (found, nearest)]
    assert lost[0] < lost[1]  # although its blocks are four times as large; a single output may be unlucky
