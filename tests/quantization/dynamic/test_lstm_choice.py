"""Which LSTM layers run in int8, and in which form: by what their own outputs lose, and by the clock or by size."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.dynamic import lstm_choice
from onnxslim.quantization.dynamic.lstm import find_lstm_layers
from onnxslim.quantization.dynamic.lstm_choice import LstmChoice, choose_lstm_layers
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.runtime.node_profile import NodeTime
from onnxslim.runtime.session import SessionConfig
from tests.support.encoder import sqnr
from tests.support.lstm_graphs import BATCH, STEPS, build_lstm
from tests.support.quantize_graphs import kernels
from tests.support.quantize_graphs import model as parse

STATIC = QuantizeOptions(placement="static")


def build(**arguments: object) -> ir.Model:
    return prepare_model(build_lstm(**{"inputs": 96, "hidden": 96, **arguments}))[0]  # type: ignore[arg-type]


def draw(outlier: float = 1.0, inputs: int = 96) -> dict[str, np.ndarray]:
    x = np.random.default_rng(4).standard_normal((16 * STEPS, BATCH, inputs)).astype(np.float32)
    x[..., 5] *= outlier
    return {"x": x}


def choose(model: ir.Model, samples: Samples, min_sqnr: float = 20.0, placement: str = "static") -> LstmChoice:
    feeds, layers = CalibrationFeeds(samples).spread(16), find_lstm_layers(model)[0]
    choices = choose_lstm_layers(model, layers, feeds, feeds[:4], SessionConfig(), placement=placement, min_sqnr=min_sqnr)
    return choices["layer"]


def test_a_large_layer_is_int8_and_one_that_gains_no_time_is_not() -> None:
    large, small = build(), build(inputs=48, hidden=48)
    assert choose(large, open_samples(draw(), large)).why_float is None
    assert "gains no time" in str(choose(small, open_samples(draw(inputs=48), small)).why_float)


def test_a_layer_that_would_lose_too_much_stays_float() -> None:
    model = build()
    choice = choose(model, open_samples(draw(), model), min_sqnr=70.0)
    assert choice.error is not None
    assert "70 are asked for" in str(choice.why_float)


def test_what_an_earlier_run_left_is_int8() -> None:
    model = build(inputs=48, hidden=48)
    assert choose(model, open_samples(draw(inputs=48), model), min_sqnr=70.0, placement="recorded").why_float is None


def test_an_input_with_an_outlier_channel_is_divided() -> None:
    model = build()
    weights = model.graph.initializers["W"].const_value
    assert weights is not None
    array = weights.numpy().copy()
    array[:, :, 5] /= 60
    model.graph.initializers["W"].const_value = ir.tensor(array, name="W")
    samples = open_samples(draw(outlier=60), model)
    assert choose(model, samples).form.factors is not None
    result, report = quantize(model, samples, STATIC)
    assert report.changed["smoothed inputs of LSTM layers"] == 1
    assert sqnr(model, result, samples) > 25


def test_the_clock_decides_where_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    samples = open_samples(draw(), model)

    def measure(twins: ir.Model, *_: object, **__: object) -> dict[str, NodeTime]:
        seconds = {"LSTM": 1e-5, "DynamicQuantizeLSTM": 2e-5}
        nodes = [node for node in twins.graph if node.op_type in seconds]
        return {str(node.name): NodeTime(str(node.name), node.op_type, "cpu", seconds[node.op_type]) for node in nodes}

    monkeypatch.setattr(lstm_choice, "measure_node_times", measure)
    assert "20 us against 10" in str(choose(model, samples, placement="measured").why_float)


def test_a_net_of_lstms_is_quantised_dynamically_unasked_and_replays_to_the_byte() -> None:
    model = build(direction="bidirectional")
    samples = open_samples(draw(), model)
    result, report = quantize(model, samples, STATIC)
    assert (report.decision.scheme, report.decision.float_units) == ("dynamic", ())
    assert [(layer.name, layer.op, layer.kernel) for layer in report.decision.layers] == [("layer", "LSTM", "int8")]
    assert kernels(result)["DynamicQuantizeLSTM"] == 1
    assert sqnr(model, result, samples) > 30
    again, _ = quantize(model, samples, dataclasses.replace(STATIC, activations="dynamic", float_units=()))
    assert model_file.to_bytes(result) == model_file.to_bytes(again)
    back, _ = quantize(
        parse_with_head(), open_samples(draw(), parse_with_head()),
        dataclasses.replace(STATIC, activations="dynamic", float_units=("layer",)),
    )  # fmt: skip
    assert (kernels(back)["LSTM"], kernels(back)["DynamicQuantizeLSTM"]) == (1, 0)


def parse_with_head() -> ir.Model:
    """An LSTM and a linear layer behind it."""
    rng = np.random.default_rng(0)
    text = f"""g (float[{STEPS},{BATCH},96] x) => (float[{STEPS},{BATCH},64] y) {{
        [layer] s = LSTM <hidden_size=96> (x, w, r)
        t = Squeeze (s, one)
        [head] y = MatMul (t, v)
    }}"""
    constants = {
        "w": rng.standard_normal((1, 384, 96)) / 10, "r": rng.standard_normal((1, 384, 96)) / 10,
        "v": rng.standard_normal((96, 64)) / 10,
    }  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in constants.items()}
    return prepare_model(parse(text, **arrays, one=np.array([1], np.int64)))[0]


def test_a_gru_stores_its_weights_in_int8_beside_dynamic_layers() -> None:
    rng = np.random.default_rng(0)
    text = f"""g (float[{STEPS},{BATCH},96] x) => (float[{STEPS},{BATCH},64] y) {{
        s = GRU <hidden_size=96> (x, w, r)
        t = Squeeze (s, one)
        y = MatMul (t, v)
    }}"""
    constants = {
        "w": rng.standard_normal((1, 288, 96)),
        "r": rng.standard_normal((1, 288, 96)),
        "v": rng.standard_normal((96, 64)),
    }
    arrays = {name: (array / 10).astype(np.float32) for name, array in constants.items()}
    model = parse(text, **arrays, one=np.array([1], np.int64))
    result, report = quantize(model, open_samples(draw(), model), dataclasses.replace(STATIC, activations="dynamic"))
    assert report.decision.float_weights == "int8"
    assert kernels(result)["GRU"] == 1
    assert len(model_file.to_bytes(result)) < 0.3 * len(model_file.to_bytes(model))
