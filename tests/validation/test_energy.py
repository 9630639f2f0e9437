"""Energy in the evidence: measured as a ratio, or an estimate that is called one."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.runtime.energy.energy_counter import NOT_MEASURABLE, EnergyMeter, measure_per_inference
from onnxslim.runtime.session import Session
from onnxslim.validation.energy import measure_energy
from tests.support.energy import PerRun
from tests.support.paths import SAMPLES

#: A counter that moves with every look needs no long turns.
SHORT = partial(measure_per_inference, seconds=0.01)
FEED = {"image": np.random.default_rng(0).uniform(size=(1, 1, 8, 8)).astype(np.float32)}


def test_a_measured_energy_is_a_ratio_with_its_interval_and_an_estimate_is_called_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onnxslim.validation.energy.measure_per_inference", SHORT)
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    models, sessions = {"original": model, "result": model}, dict.fromkeys(("original", "result"), Session(model))
    measured = measure_energy(models, sessions, [FEED], PerRun())
    assert measured["source"] == "a test"
    assert measured["original"]["millijoules"] > 0
    low, high = measured["result"]["interval"]
    assert low <= measured["result"]["relative"] <= high
    assert measure_energy(models, sessions, [FEED], None) == {"source": NOT_MEASURABLE, "relative_estimate": 1.0}


def test_a_counter_that_fails_meanwhile_measured_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onnxslim.validation.energy.measure_per_inference", SHORT)

    class Failing(PerRun):
        def joules(self) -> float:
            return super().joules() if self.now < 5 else math.nan

    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    models, sessions = {"original": model, "result": model}, dict.fromkeys(("original", "result"), Session(model))
    assert measure_energy(models, sessions, [FEED], Failing()) == {"source": NOT_MEASURABLE, "relative_estimate": 1.0}
    meter = EnergyMeter(Failing())
    assert "command_joules" in meter.add_command_joules(None)
    failed = Failing()
    failed.now = 5
    assert EnergyMeter(failed).add_command_joules(None) == {"source": NOT_MEASURABLE}
