"""Energy in the evidence: measured as a ratio, or an estimate that is called one."""

from __future__ import annotations

import numpy as np

from onnxslim.model_io import model_file
from onnxslim.runtime.energy.energy_counter import NOT_MEASURABLE
from onnxslim.runtime.session import Session
from onnxslim.validation.energy import measure_energy
from tests.support.energy import PerRun
from tests.support.paths import SAMPLES

FEED = {"image": np.random.default_rng(0).uniform(size=(1, 1, 8, 8)).astype(np.float32)}


def test_a_measured_energy_is_a_ratio_with_its_interval_and_an_estimate_is_called_one() -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    models, sessions = {"original": model, "result": model}, dict.fromkeys(("original", "result"), Session(model))
    measured = measure_energy(models, sessions, [FEED], PerRun())
    assert measured["source"] == "a test"
    assert measured["original"]["millijoules"] > 0
    low, high = measured["result"]["interval"]
    assert low <= measured["result"]["relative"] <= high
    assert measure_energy(models, sessions, [FEED], None) == {"source": NOT_MEASURABLE, "relative_estimate": 1.0}
