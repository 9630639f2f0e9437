"""Which scheme a model is quantised by when nobody says."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.data.sources import open_samples
from onnxslim.graph.constants import get_const_array
from onnxslim.model_io import model_file
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.scheme_selection import choose_cheaper_scheme
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import check_loads
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, small
from tests.support.onnx_text import build, floats
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import model, weight

STATIC = QuantizeOptions(placement="static")


def test_a_network_of_convolutions_takes_the_static_way() -> None:
    model = simplify(SAMPLES / "digits_cnn.onnx")[0]
    samples = open_samples(SAMPLES / "digits_calib.npz", model, max_samples=16)
    _, report = quantize(model, samples, STATIC)
    assert report.details["way"]["way"] == "static"


def test_a_target_without_the_runtimes_own_ops_takes_the_static_way_whatever_is_cheaper() -> None:
    model = small()
    assert quantize(model, data(model), STATIC)[1].details["way"]["way"] == "dynamic"
    result, report = quantize(model, data(model), QuantizeOptions(target="tensorrt", placement="static"))
    assert report.details["way"]["way"] == "static"
    assert "own ops" in report.details["way"]["why"]
    assert not any(node.op_type == "DynamicQuantizeLinear" for node in result.graph)
    with pytest.raises(UsageError, match="it runs static int8 only"):
        quantize(model, data(model), QuantizeOptions(target="tensorrt", activations="dynamic"))


def test_the_clock_of_another_provider_than_the_targets_is_not_asked() -> None:
    model = simplify(SAMPLES / "digits_cnn.onnx")[0]
    samples = open_samples(SAMPLES / "digits_calib.npz", model, max_samples=16)
    result, report = quantize(model, samples, QuantizeOptions(target="tensorrt", placement="measured"))
    assert any(skip.node == "measured placement" for skip in report.skipped)
    assert "candidates" not in report.details
    # nor its optimiser: the CPU fuses other patterns
    assert report.decision.layers
    assert not any("the runtime left it" in skip.reason for skip in report.skipped)
    assert not report.decision.surviving
    assert any("not verified here" in warning for warning in report.warnings)
    by_model, _ = quantize(model, samples, QuantizeOptions(target="tensorrt", placement="static"))
    assert model_file.to_bytes(result) == model_file.to_bytes(by_model)


def layers_of_every_kind() -> ir.Model:
    """A table, linear layers, a recurrence, convolutions plain, grouped and transposed, and their activations."""
    text = """(int64[N,8] x) => (float[N,10] y) {
        e = Gather (table, x)
        n = LayerNormalization (e, ones, zeros)
        q = MatMul (n, w1)
        qt = Transpose <perm = [0, 2, 1]> (q)
        s = MatMul (n, qt)
        p = Softmax (s)
        v = MatMul (p, n)
        h = LSTM <hidden_size = 16, layout = 0> (v, wx, wh)
        u = Squeeze (h, one)
        c = Unsqueeze (u, three)
        d = Conv <pads = [1, 0, 1, 0]> (c, w2)
        g = Conv <group = 8, pads = [1, 0, 1, 0]> (d, w3)
        sg = Sigmoid (g)
        m = Mul (g, sg)
        t = ConvTranspose <strides = [2, 1]> (m, w4)
        a = GlobalAveragePool (t)
        f = Flatten (a)
        y = Gemm <transB = 1> (f, w5, b5)
    }"""
    return build(
        text, table=floats(100, 32), ones=np.ones(32, "f4"), zeros=np.zeros(32, "f4"), w1=floats(32, 32) / 8,
        wx=floats(1, 64, 32) / 8, wh=floats(1, 64, 16) / 8, one=np.array([1]), three=np.array([3]),
        w2=floats(16, 8, 3, 1) / 8, w3=floats(16, 2, 3, 1) / 4, w4=floats(16, 16, 2, 1) / 8,
        w5=floats(10, 16) / 4, b5=floats(10),
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {}, {"placement": "static"}, {"activations": "static"}, {"calibration": "minmax"},
        *({"weights": form} for form in ("int8", "int4", "int8:qdq", "int4:qdq", "codebook:16", "float16")),
    ],
)  # fmt: skip
def test_tensorrt_gets_symmetric_int8_of_qdq_alone_and_nothing_timed(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement_profiling, "interleave", lambda *args, **kwargs: pytest.fail("it was timed"))
    model = layers_of_every_kind()
    ids = np.random.default_rng(0).integers(0, 100, (16, 8))
    result, report = quantize(model, open_samples({"x": ids}, model), QuantizeOptions(target="tensorrt", **options))  # type: ignore[arg-type]
    qdq = ("QuantizeLinear", "DequantizeLinear")
    assert not any(word in warning for warning in report.warnings for word in ("slower", "CPU"))
    for node in result.graph.all_nodes():
        assert node.domain == ""
        assert node.op_type not in ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
        for index, value in enumerate(node.inputs):
            array = get_const_array(value)
            if array is not None and value is not None and value.dtype in (ir.DataType.INT8, ir.DataType.INT4):
                assert node.op_type in qdq  # int8 comes out of Q/DQ and goes nowhere else
                assert index == 0 or not array.any()
    used = {node.op_type for node in result.graph.all_nodes()}
    assert used.isdisjoint(qdq) == options.get("weights", "").startswith(("codebook", "float16"))
    check_loads(result)


def test_what_was_decided_can_be_asked_for() -> None:
    model = small()
    result, report = quantize(model, data(model), QuantizeOptions(placement="static", activations="static"))
    assert any(node.op_type == "QuantizeLinear" for node in result.graph)
    assert report.details["way"]["why"] == "asked for"
    with pytest.raises(UsageError, match="--activations sometimes"):
        quantize(model, data(model), QuantizeOptions(activations="sometimes"))


@pytest.mark.parametrize(("width", "is_static"), [(16, True), (31, True), (64, False)])
def test_dynamic_ranges_are_never_chosen_for_layers_that_they_leave_in_float(width: int, is_static: bool) -> None:
    text = f"g (float[n,{width}] x) => (float[n,{width}] y) {{ h = MatMul(x, w) e = Erf(h) y = MatMul(e, v) }}"
    found = model(text, w=weight(width, width), v=weight(width, width))
    prepared = prepare_model(found)[0]
    scheme, reason = choose_cheaper_scheme(prepared, TARGETS["cpu"], {"x": np.zeros((1, width), np.float32)})
    assert ("leave smaller ones in float" in reason) == is_static
    assert scheme == "static" or not is_static
