"""The static scheme on a small network: what runs in int8, what stays float."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations import run_context
from onnxslim.core.deadline import Pacer
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.static import fastest_placement, pipeline
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.validation.evaluation import evaluate
from tests.support.encoder import sqnr
from tests.support.judges import judge_by
from tests.support.lstm_graphs import STEPS
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import STATIC, kernels, model


def test_every_layer_that_was_placed_runs_in_int8_and_answers_stay(digits: ir.Model, calib: Samples) -> None:
    result, report = quantize(digits, calib, QuantizeOptions(float_units=()))
    ops = [node.op_type for node in read_optimized_graph(result).graph]
    assert "Conv" not in ops
    assert report.changed["layers in int8"] == len(report.details["layers"])
    left = [(one["op"], one["why"]) for one in report.details["surviving"]]
    assert ("QuantizeLinear", "it is an input of the model") in left
    assert "ReduceMean" not in ops, "a mean over the map is a pool, which runs in int8"
    held = open_samples(SAMPLES / "digits_eval.npz", digits)
    judged = evaluate(result, held, reference=digits)
    agreement = judged.find("agreement")
    assert agreement is not None
    assert agreement.result > 0.98


def test_an_excluded_layer_really_stays_float(digits: ir.Model, calib: Samples) -> None:
    work = model_file.clone(digits)
    name_nodes(work.graph.all_nodes())
    convs = [node for node in work.graph if node.op_type == "Conv"]
    inner = str(convs[len(convs) // 2].name)
    result, report = quantize(digits, calib, QuantizeOptions(exclude=(inner,), float_units=()))
    layers = {layer["name"]: layer for layer in report.details["layers"]}
    assert layers[inner]["kernel"] == "float"
    weight = next(node for node in work.graph if node.name == inner).inputs[1]
    assert weight is not None
    floats = [v.name for node in read_optimized_graph(result).graph if node.op_type == "Conv" for v in node.inputs[1:2] if v]
    assert len(floats) == 1
    assert sum(layer["kernel"] == "int8" for layer in layers.values()) == len(layers) - 1


def test_a_first_sample_without_a_signal_spoils_nothing(digits: ir.Model, calib: Samples) -> None:
    images = np.concatenate([feed["image"] for feed in calib.batches(64)])
    silent = open_samples(list(np.concatenate([np.zeros_like(images[:1]), 1e6 * images[:40]])), digits)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        _, report = quantize(digits, silent, STATIC)
    assert all(layer["sqnr_db"] > 15 for layer in report.details["layers"] if layer["kernel"] == "int8")


class _PacerOfThree(Pacer):
    """Three parts fit of whatever is begun."""

    def fits(self) -> bool:
        self.begun = getattr(self, "begun", 0) + 1
        return self.begun <= 3


def test_mending_ends_when_the_time_is_up_and_is_repeated_so(
    digits: ir.Model, calib: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = QuantizeOptions(float_units=(), calibration="minmax")
    with monkeypatch.context() as patch:
        patch.setattr(run_context, "Pacer", _PacerOfThree)
        hurried, report = quantize(digits, calib, options)
    assert report.decision.corrected_layers == 3
    assert any("no time left" in skipped.reason for skipped in report.skipped)
    repeated, again = quantize(digits, calib, replace(options, corrected_layers=3))
    assert model_file.to_bytes(hurried) == model_file.to_bytes(repeated)
    assert again.decision.corrected_layers == 3
    complete, whole = quantize(digits, calib, options)
    assert whole.decision.corrected_layers is None
    assert model_file.to_bytes(complete) != model_file.to_bytes(hurried)


def test_with_little_time_ranges_come_from_fewer_samples_and_a_replay_takes_as_many(
    digits: ir.Model, calib: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = QuantizeOptions(float_units=(), calibration="minmax")
    monkeypatch.setattr(pipeline, "count_affordable_samples", lambda count, *_: 40)
    hurried, report = quantize(digits, calib, options, deadline=time.monotonic() + 1000)
    assert report.decision.calibration_samples == 40 < len(calib)
    assert any("no time left" in skipped.reason for skipped in report.skipped)
    repeated, _ = quantize(digits, calib, replace(options, calibration_samples=40))
    assert model_file.to_bytes(hurried) == model_file.to_bytes(repeated)
    _, whole = quantize(digits, calib, options)
    assert whole.decision.calibration_samples is None


def build_recurrent() -> ir.Model:
    """Two convolutions, what they see read as a sequence by an LSTM, and a linear layer."""
    rng = np.random.default_rng(0)
    text = f"""g (float[{STEPS},16,6,6] x) => (float[{STEPS},1,64] y) {{
        [first] a = Conv <pads = [1,1,1,1]> (x, u)
        b = Relu (a)
        [second] c = Conv <pads = [1,1,1,1]> (b, v)
        d = Relu (c)
        e = Reshape (d, sizes)
        [layer] s = LSTM <hidden_size=96> (e, w, r)
        t = Squeeze (s, one)
        [head] y = MatMul (t, h)
    }}"""
    constants = {
        "u": rng.normal(size=(16, 16, 3, 3)) / 12, "v": rng.normal(size=(16, 16, 3, 3)) / 12,
        "w": rng.normal(size=(1, 384, 576)) / 24, "r": rng.normal(size=(1, 384, 96)) / 10,
        "h": rng.normal(size=(96, 64)) / 10,
    }  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in constants.items()}
    return model(text, **arrays, one=np.array([1], np.int64), sizes=np.array([STEPS, 1, 576], np.int64))


def test_lstms_between_static_layers_run_in_int8_and_replay_to_the_byte() -> None:
    found = build_recurrent()
    data = open_samples({"x": np.random.default_rng(1).normal(size=(16 * STEPS, 16, 6, 6)).astype(np.float32)}, found)
    options = QuantizeOptions(activations="static", placement="static")
    result, report = quantize(found, data, options)
    assert report.changed["LSTM layers in int8"] == 1
    ops = kernels(result)
    assert ops["DynamicQuantizeLSTM"] == 1
    assert ops["QLinearConv"] == 2
    assert sqnr(found, result, data) > 20
    again, _ = quantize(found, data, replace(options, float_units=report.decision.float_units))
    assert model_file.to_bytes(again) == model_file.to_bytes(result)
    back, report = quantize(found, data, replace(options, float_units=("layer",)))
    assert (kernels(back)["LSTM"], kernels(back)["DynamicQuantizeLSTM"]) == (1, 0)
    assert report.decision.float_units == ("layer",)


@pytest.mark.parametrize("excess", [None, 0.1, 0.8, 2.0])
def test_where_only_an_lstm_gains_by_int8_only_that_is_int8(excess: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of a busy machine the rest seemed slower, and the LSTM was left in float with it."""

    def pick(candidates: dict[str, ir.Model], *_: object) -> tuple[str, dict[str, float]]:
        return "float", {name: 1.0 if name == "float" else 1.1 for name in candidates}

    monkeypatch.setattr(fastest_placement.placement_profiling, "pick_fastest", pick)
    found = build_recurrent()
    data = open_samples({"x": np.random.default_rng(1).normal(size=(16 * STEPS, 16, 6, 6)).astype(np.float32)}, found)
    options = QuantizeOptions(activations="static", placement="measured")

    def judge(result: ir.Model) -> float:
        return (excess or 0.0) * ("DynamicQuantizeLSTM" in {node.op_type for node in result.graph})

    result, report = quantize(found, data, options, drop_over_limit=None if excess is None else judge_by(judge))
    ops = kernels(result)
    assert (ops["DynamicQuantizeLSTM"], ops["QLinearConv"], ops["Conv"]) == (1, 0, 2)
    assert "layer" not in report.decision.float_units
    assert all("layer" not in point.float_units for point in report.decision.front)
    again, _ = quantize(
        found, data,
        replace(options, float_units=report.decision.float_units, float_weights=report.decision.float_weights,
                calibration=report.decision.calibration),
    )  # fmt: skip
    assert model_file.to_bytes(again) == model_file.to_bytes(result)


def test_an_lstm_that_the_outputs_do_not_bear_goes_back_to_float() -> None:
    found = build_recurrent()
    data = open_samples({"x": np.random.default_rng(1).normal(size=(16 * STEPS, 16, 6, 6)).astype(np.float32)}, found)

    def judge(result: ir.Model) -> float:
        return 5.0 * ("DynamicQuantizeLSTM" in {node.op_type for node in result.graph})

    options = QuantizeOptions(activations="static", placement="static")
    result, report = quantize(found, data, options, drop_over_limit=judge_by(judge))
    assert kernels(result)["LSTM"] == 1
    assert "layer" in report.decision.float_units
    assert "layer" not in report.decision.front[0].float_units
