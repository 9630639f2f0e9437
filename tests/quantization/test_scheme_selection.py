"""Which scheme a model is quantised by when nobody says."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, small
from tests.support.paths import SAMPLES

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
    by_model, _ = quantize(model, samples, QuantizeOptions(target="tensorrt", placement="static"))
    assert model_file.to_bytes(result) == model_file.to_bytes(by_model)


def test_what_was_decided_can_be_asked_for() -> None:
    model = small()
    result, report = quantize(model, data(model), QuantizeOptions(placement="static", activations="static"))
    assert any(node.op_type == "QuantizeLinear" for node in result.graph)
    assert report.details["way"]["why"] == "asked for"
    with pytest.raises(UsageError, match="--activations sometimes"):
        quantize(model, data(model), QuantizeOptions(activations="sometimes"))
