"""What is odd about a model or its data is said, and quantised all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from tests.support.odd_network import images, network

OPTIONS = QuantizeOptions(placement="static", activations="static", calibration="minmax")
RNG = np.random.default_rng(0)


def quantised(model: ir.Model, x: np.ndarray) -> list[str]:
    """The warnings; the result runs and is finite."""
    result, report = quantize(model, open_samples({"x": x}, model), OPTIONS)
    assert report.changed["layers in int8"] >= 1
    assert np.isfinite(Session(result).run({"x": x[:1]})["y"]).all()
    return report.warnings


def test_one_sample_is_enough_and_said() -> None:
    assert any("calibrated on 1 sample only" in line for line in quantised(network(), images(1)))


def test_samples_are_counted_not_the_batches_that_a_model_fixes() -> None:
    model = network()
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape([4, *list(value.shape or ())[1:]])
    for count, expected in (
        (4, ["calibrated on 4 samples only: ranges cover what 4 samples showed; give a hundred or more"]),
        (8, []),
    ):
        _, report = quantize(model, open_samples({"x": images(count)}, model), OPTIONS)
        assert [line for line in report.warnings if "calibrated on" in line] == expected


def test_a_constant_activation_is_said() -> None:
    lines = quantised(network(middle="z = Mul(a, zero)\n r = Relu(a)\n b = Add(z, r)"), images())
    assert any("z is constant on the calibration data" in line for line in lines)


def test_an_empty_channel_is_said() -> None:
    first = RNG.normal(size=(16, 4, 3, 3)).astype(np.float32) / 6
    first[[2, 5]] = 0
    assert any("2 outputs have weights of zero alone" in line for line in quantised(network(first), images()))


def test_a_scale_that_would_underflow_is_said() -> None:
    first = RNG.normal(size=(16, 4, 3, 3)).astype(np.float32) * np.float32(1e-32)
    model = network(first)
    # what is as good as zero may lose what little it has
    options = replace(OPTIONS, min_sqnr=-100.0)
    result, report = quantize(model, open_samples({"x": images()}, model), options)
    assert any("too little for a scale in float32" in line for line in report.warnings)
    assert np.isfinite(Session(result).run({"x": images(1)})["y"]).all()
