"""What int8 costs each layer alone, told from one run."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.static.layer_sensitivity import measure_layer_sensitivity
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplification.step import simplify
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import chain, model

CONFIG = SessionConfig()


@pytest.mark.parametrize("spoilt", [0, 2, 4])
def test_the_layer_with_the_outlier_costs_most_alone(spoilt: int) -> None:
    found = prepare_model(model_file.clone(chain(spoilt)))[0]
    x = np.random.default_rng(1).standard_normal((16, 32)).astype(np.float32)
    noise = measure_layer_sensitivity(found, TARGETS["cpu"], CalibrationFeeds(open_samples({"x": x}, found)), CONFIG)
    layers = [str(node.name) for node in found.graph if node.op_type == "MatMul"]
    assert list(noise) == layers
    assert max(noise, key=noise.__getitem__) == layers[spoilt]


def test_a_layer_alone_is_as_noisy_as_the_arithmetic_says() -> None:
    plain = model("g (float[n,64] x) => (float[n,64] y) { y = MatMul(x, w) }", w=np.eye(64, dtype=np.float32))
    found = prepare_model(plain)[0]
    x = np.random.default_rng(1).uniform(0, 1, (16, 64)).astype(np.float32)
    noise = measure_layer_sensitivity(found, TARGETS["cpu"], CalibrationFeeds(open_samples({"x": x}, found)), CONFIG)
    step_size = x.max() / 255
    expected = step_size**2 / 12 / float(np.square(x).mean())  # uniform rounding error; the weights are exact
    assert next(iter(noise.values())) == pytest.approx(expected, rel=0.15)


def test_every_layer_of_a_network_is_told_from_one_run() -> None:
    digits = prepare_model(simplify(SAMPLES / "digits_cnn.onnx")[0])[0]
    samples = open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=16)
    noise = measure_layer_sensitivity(digits, TARGETS["cpu"], CalibrationFeeds(samples), CONFIG)
    assert len(noise) == sum(node.op_type in ("Conv", "Gemm") for node in digits.graph)
    assert all(1e-6 < value < 1e-2 for value in noise.values())
