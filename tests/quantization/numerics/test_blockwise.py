"""Weights in blocks: how far codes are off, what GPTQ gains, packing and its inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from onnxslim.core.errors import OnnxslimError
from onnxslim.quantization.numerics import blockwise
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.runtime.session import Session
from tests.support.node_graphs import build


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


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("count", [8, 9])
def test_packing_codes_can_be_undone(bits: int, count: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, (3, 5, count)).astype(np.uint8)
    packed = blockwise.pack(codes, bits)
    assert packed.shape == (3, 5, -(-count * bits // 8))
    np.testing.assert_array_equal(blockwise.unpack(packed, bits)[..., :count], codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("has_zero_point", [False, True])
def test_the_runtime_reads_what_was_packed(bits: int, has_zero_point: bool) -> None:
    rng = np.random.default_rng(bits)
    weight, x = (rng.standard_normal(shape).astype(np.float32) + 0.3 for shape in ((24, 160), (3, 160)))
    found = blockwise.quantize_nearest(weight, BlockFormat(bits, 32, has_zero_point))
    constants = {"codes": found.codes, "scales": found.scales}
    constants |= {} if found.zero_points is None else {"zero_points": found.zero_points}
    node = helper.make_node(
        "MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft", K=160, N=24, bits=bits, block_size=32
    )
    model = build([node], {"x": [3, 160]}, {"y": [3, 24]}, constants)
    model.opset_imports["com.microsoft"] = 1
    try:
        y = Session(model).run({"x": x})["y"]
    except OnnxslimError:
        pytest.skip(f"this runtime has no {bits} bits")
    np.testing.assert_allclose(y, x @ found.dequantize().T, rtol=1e-3, atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([2, 4]), st.booleans(), st.sampled_from([32, 64]), st.integers(0, 2**31))
def test_error_feedback_gains_in_every_format(bits: int, has_zero_point: bool, size: int, seed: int) -> None:
    w = np.random.default_rng(seed).standard_normal((24, 160)).astype(np.float32)
    x = correlated(800, 160, seed)
    gram = (x.T @ x).astype(np.float64) / len(x)
    block_format = BlockFormat(bits, size, has_zero_point)
    fed_back = blockwise.quantize_with_feedback(w, blockwise.make_feedback(gram, 0.01), block_format)
    nearest = blockwise.quantize_nearest(w, block_format)
    lost = [np.square(x @ (w - one.dequantize()).T).sum() for one in (fed_back, nearest)]
    assert lost[0] < 0.7 * lost[1]


def test_rows_are_rounded_alike_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    w, x = np.random.default_rng(0).standard_normal((24, 160)).astype(np.float32), correlated(800, 160, 0)
    whole = blockwise.quantize_gptq(w, moments(x))
    monkeypatch.setattr(blockwise, "MAX_FEEDBACK_ELEMENTS", 160 * 5)
    np.testing.assert_allclose(blockwise.quantize_gptq(w, moments(x)).dequantize(), whole.dequantize(), rtol=1e-5)


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
