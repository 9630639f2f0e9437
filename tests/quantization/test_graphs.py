"""Graphs that trip quantisers: MatMul + Add, shared weights, bodies, CPUs whose pairs of products saturate."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.quantization.numerics import saturation
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.detect import detect_target, has_saturating_kernels
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.simplification.step import simplify
from tests.quantization.float16.test_conversion import model

EVERYTHING = QuantizeOptions(activations="static", float_units=())
_RNG = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return (_RNG.standard_normal(shape) / 8).astype(np.float32)


def samples(found: ir.Model, *shape: int, count: int = 8, **others: np.ndarray) -> Samples:
    x = _RNG.standard_normal((count, *shape)).astype(np.float32)
    return open_samples({"x": x, **others}, found)


def kernels(found: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in read_optimized_graph(found).graph.all_nodes())


def close(before: ir.Model, after: ir.Model, data: Samples, least: float = 30.0) -> bool:
    signal = noise = 0.0
    for feed in data.batches(1):
        wanted, found = (Session(m).run(feed)["y"].astype(np.float64) for m in (before, after))
        signal, noise = signal + float(np.square(wanted).sum()), noise + float(np.square(wanted - found).sum())
    return bool(10 * np.log10(signal / max(noise, 1e-30)) > least)


BLOCKS = {
    "rank 2": ("float[n,64] x", "float[n,64] y", (64,)),
    "rank 3, static": ("float[1,8,64] x", "float[1,8,64] y", (8, 64)),
    "rank 3, free": ("float[n,8,64] x", "float[n,8,64] y", (8, 64)),
}
MIDDLES = {"Relu": "h = Relu(c)", "Erf": "h = Erf(c)", "none": "h = Identity(c)"}


@pytest.mark.parametrize("shape", BLOCKS)
@pytest.mark.parametrize("middle", MIDDLES)
def test_two_linear_layers_have_the_same_kernels_quantised_before_and_after_simplify(shape: str, middle: str) -> None:
    into, out, size = BLOCKS[shape]
    written = model(
        f"""g ({into}) => ({out}) {{
          a = MatMul(x, w)
          c = Add(a, p)
          {MIDDLES[middle]}
          d = MatMul(h, v)
          y = Add(d, q)
        }}""",
        w=weight(64, 256), v=weight(256, 64), p=weight(256), q=weight(64),
    )  # fmt: skip
    simplified = simplify(written)[0]
    data = samples(written, *size)
    both = [quantize(one, data, EVERYTHING)[0] for one in (written, simplified)]
    left = [kernels(one) for one in both]
    integer = [{op: n for op, n in ops.items() if op.startswith(("QGemm", "QLinear", "MatMulInteger"))} for ops in left]
    assert sum(integer[0].values()) == sum(integer[1].values()) == 2, left
    assert not any({"Gemm", "MatMul"} & ops.keys() for ops in left)
    assert all(close(written, one, data) for one in both)


def test_a_weight_that_two_layers_share_is_right_in_both_and_a_shared_bias_too() -> None:
    found = model(
        """g (float[n,16,8,8] x) => (float[n,16,8,8] y) {
          a = Conv(x, w, p)
          b = Relu(a)
          c = Conv(b, w, p)
          y = Add(c, b)
        }""",
        w=weight(16, 16, 1, 1), p=weight(16),
    )  # fmt: skip
    data = samples(found, 16, 8, 8)
    result, account = quantize(found, data, EVERYTHING)
    assert account.changed["layers in int8"] == 2
    assert kernels(result)["QLinearConv"] == 2
    assert close(found, result, data)


BODY = """g (float[n,16,8,8] x, bool c) => (float[n,16,8,8] y) {
  a = Conv(x, w)
  b = Relu(a)
  z = If (c) <
    then_branch = yes () => (float[n,16,8,8] t) { t = Conv(b, v) },
    else_branch = no () => (float[n,16,8,8] f) { s = Conv(b, v)
      f = Relu(s) }
  >
  y = Conv(z, u)
}"""


@pytest.mark.parametrize("condition", [True, False])
def test_the_bodies_of_an_if_are_left_whole_in_float_and_the_layers_around_them_fuse(condition: bool) -> None:
    found = model(BODY, w=weight(16, 16, 1, 1), v=weight(16, 16, 1, 1), u=weight(16, 16, 1, 1))
    data = samples(found, 16, 8, 8, c=np.full(8, condition))
    result, account = quantize(found, data, EVERYTHING)
    inside = [node for node in result.graph.all_nodes() if node.graph is not result.graph]
    assert {node.op_type for node in inside} == {"Conv", "Relu"}
    assert account.changed["layers in int8"] == 2
    assert kernels(result)["QLinearConv"] == 2
    assert close(found, result, data)


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


def test_the_target_without_vnni_writes_weights_that_cannot_saturate() -> None:
    text = "g (float[n,64] x) => (float[n,64] y) { a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, w) }"
    found = model(text, w=weight(64, 64))
    options = QuantizeOptions(target="cpu-no-vnni", activations="static", float_units=())
    result, _ = quantize(found, samples(found, 64), options)
    codes = [v.const_value.numpy() for v in result.graph.initializers.values() if v.name in ("w2q", "w3q")]
    assert len(codes) == 2
    assert not any(saturation.find_saturating_channels(array, 1).any() for array in codes)


def test_this_machines_kernels_are_asked_for_their_sums() -> None:
    wrong = has_saturating_kernels()
    assert detect_target(SessionConfig()) == ("cpu-no-vnni" if wrong else "cpu")
    assert detect_target(SessionConfig(provider="cuda:1")) == "cuda"
    assert detect_target(SessionConfig(provider="tensorrt")) == "tensorrt"
