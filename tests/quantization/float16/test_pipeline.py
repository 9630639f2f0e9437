"""The float16 scheme as a whole: what halves, what is said, what is refused."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import NothingGainedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.float16 import pipeline
from onnxslim.quantization.float16.pipeline import quantize_float16
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, check_loads
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, small, sqnr
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import model, types

CUDA = QuantizeOptions(target="cuda")


@pytest.mark.parametrize("pre_norm", [True, False])
def test_an_encoder_halves_and_keeps_its_inputs_outputs_and_answers(pre_norm: bool) -> None:
    original = small(hidden=128, pre_norm=pre_norm)
    samples = data(original, 4)
    result, report = quantize(original, samples, CUDA)
    check_loads(result)
    assert len(model_file.to_bytes(original)) > 1.9 * len(model_file.to_bytes(result))
    for before, after in ((original.graph.inputs, result.graph.inputs), (original.graph.outputs, result.graph.outputs)):
        assert [(v.name, v.dtype, v.shape) for v in before] == [(v.name, v.dtype, v.shape) for v in after]
    assert sqnr(original, result, samples) > 45
    reasons = {d.node: d.reason for d in report.skipped}
    assert reasons["int8"].startswith("the CUDA provider has no int8 kernels")


def test_a_network_of_convolutions_halves_without_data() -> None:
    original = simplify(SAMPLES / "digits_cnn.onnx")[0]
    result, report = quantize(original, None, CUDA)
    assert "nodes kept in float32" not in report.changed
    assert any("no data" in line for line in report.warnings)
    feed = next(iter(open_samples(SAMPLES / "digits_calib.npz", original, max_samples=8).batches(8)))
    wanted, found = (next(iter(Session(m).run(feed).values())) for m in (original, result))
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02)


def test_without_data_an_op_that_runs_in_float32_alone_stays_there() -> None:
    text = """g (float[1,8,6,6] x) => (float[1,8,5,5] y) {
      c = Conv(x, w)
      grid = AffineGrid(theta, size)
      y = GridSample(c, grid)
    }"""
    rng = np.random.default_rng(0)
    w, theta = rng.standard_normal((8, 8, 1, 1)).astype(np.float32), np.eye(2, 3, dtype=np.float32)[None]
    original = model(text, w=w, theta=theta, size=np.array([1, 8, 5, 5]))
    original.opset_imports[""] = 20
    result, _ = quantize(original, None, CUDA)
    assert types(result, "Conv") == {ir.DataType.FLOAT16}
    assert np.isfinite(Session(result).run({"x": np.ones((1, 8, 6, 6), np.float32)})["y"]).all()


def test_a_tensor_that_grows_too_large_on_the_data_stays_in_float32() -> None:
    original = model("g (float[n,8] x) => (float[n,8] y) { a = Mul(x, x)\n b = Mul(a, a)\n c = Sqrt(b)\n y = Sqrt(c) }")
    x = np.full((4, 8), 20.0, np.float32)
    result, report = quantize(original, open_samples({"x": x}, original), CUDA)
    assert types(result, "Mul") == {ir.DataType.FLOAT16, ir.DataType.FLOAT}
    assert sum("float16 ends at 65504" in d.reason for d in report.skipped) == 2
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], x, rtol=2e-3)


def test_what_reads_an_input_that_grows_too_large_on_the_data_stays_in_float32() -> None:
    original = model("g (float[n,8] x) => (float[n,8] y) { a = Mul(x, k)\n y = Tanh(a) }", k=np.full(8, 1e-4, np.float32))
    x = np.full((4, 8), 30000.0, np.float32)
    result, report = quantize(original, open_samples({"x": x}, original), CUDA)
    assert types(result, "Mul") == {ir.DataType.FLOAT}
    assert types(result, "Tanh") == {ir.DataType.FLOAT16}
    assert sum("float16 ends at 65504" in d.reason for d in report.skipped) == 1
    assert np.isfinite(Session(result).run({"x": 3 * x})["y"]).all()


def test_a_model_all_of_which_goes_back_to_float32_is_not_written() -> None:
    original = model("g (float[n,8] x) => (float[n,8] y) { a = Add(x, k)\n y = Sub(a, k) }", k=np.full(8, 3000, np.float32))
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    with pytest.raises(NothingGainedError, match="float16"):
        quantize(original, open_samples({"x": x}, original), CUDA)


def test_int8_activations_for_cuda_are_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="no int8 kernels"):
        quantize(small(), None, QuantizeOptions(target="cuda", activations="static"))


def test_without_data_what_vanishes_on_made_up_inputs_stays_in_float32() -> None:
    """A product of 1e-12, which float16 has no number for, made large again."""
    arrays = {"small": np.full(8, 1e-3, np.float32), "large": np.full(8, 3e4, np.float32), "w": np.eye(8, dtype=np.float32)}
    text = """g (float[n,8] x) => (float[n,8] y) { h = MatMul(x, w)\n a = Mul(h, small)\n b = Mul(a, small)
      c = Mul(b, small)\n d = Mul(c, small)\n e = Mul(d, large)\n f = Mul(e, large)\n y = MatMul(f, w) }"""
    original = model(text, **arrays)
    result, report = quantize(original, None, CUDA)
    assert types(result, "Mul") >= {ir.DataType.FLOAT}
    assert types(result, "MatMul") == {ir.DataType.FLOAT16}
    assert any("only denormals there" in entry.reason for entry in report.skipped)
    (line,) = [line for line in report.warnings if "ranges and outputs on made-up inputs" in line]
    assert "dB in float16; most of it is lost at" in line  # also where that is little: real inputs may lose more


@pytest.mark.parametrize("is_late", [False, True])
def test_where_nothing_keeps_the_outputs_it_is_told_where_most_is_lost_if_there_is_time_to_look(
    is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = model("g (float[n,8] x) => (float[n,8] y) { a = Add(x, k)\n b = Sub(a, k)\n y = MatMul(b, w) }",
                     k=np.full(8, 3000, np.float32), w=np.eye(8, dtype=np.float32))  # fmt: skip
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)}, original)
    report = StepReport("quantize")
    keep = pipeline.keep_accurate if is_late else lambda *given: (given[1], 1e-2)
    monkeypatch.setattr(pipeline, "keep_accurate", keep)
    context = RunContext(samples, deadline=0.0 if is_late else None)
    quantize_float16(prepare_model(original)[0], context, CUDA, report)
    (line,) = [line for line in report.warnings if "dB in float16" in line]
    assert ("most of it is lost at" in line) != is_late
    assert ("no time left" in line) == is_late
