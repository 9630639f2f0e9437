"""Energy: joules from a counter, and none where there is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.runtime.energy import nvml
from onnxslim.runtime.energy.energy_counter import (
    NOT_MEASURABLE,
    EnergyMeter,
    RaplCounter,
    find_counter,
    measure_per_inference,
)
from onnxslim.runtime.providers import CPU, Provider
from onnxslim.runtime.session import Session
from tests.support.energy import PerRun
from tests.support.paths import SAMPLES

FEED = {"image": np.random.default_rng(0).uniform(size=(1, 1, 8, 8)).astype(np.float32)}


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    """Two packages as the kernel shows them, and a part of one that must not be counted twice."""
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "max_energy_range_uj").write_text("1000000\n")
        (tmp_path / zone / "energy_uj").write_text("900000\n")
    return tmp_path


def tick(zones: Path, *values: int) -> None:
    for zone, value in enumerate(values):
        (zones / f"intel-rapl:{zone}" / "energy_uj").write_text(f"{value}\n")


def test_packages_add_up_and_a_counter_that_wraps_goes_on(zones: Path) -> None:
    counted = RaplCounter(zones)
    tick(zones, 950_000, 910_000)
    assert counted.joules() == pytest.approx(0.06)
    tick(zones, 50_000, 910_000)
    assert counted.joules() == pytest.approx(0.16)


def test_without_counters_there_is_no_figure(tmp_path: Path) -> None:
    assert find_counter(Provider(CPU), tmp_path) is None
    assert EnergyMeter(None).add_command_joules(None) == {"source": NOT_MEASURABLE}


def test_what_a_command_takes_is_told_beside_what_an_inference_does(zones: Path) -> None:
    counted = find_counter(Provider(CPU), zones)
    meter = EnergyMeter(counted)
    tick(zones, 950_000, 950_000)
    told = meter.add_command_joules({"source": "here", "relative": 0.5})
    assert told == {"source": "here", "relative": 0.5, "command_joules": pytest.approx(0.1)}


def test_joules_are_divided_by_the_inferences_they_paid_for() -> None:
    session = Session(model_file.load(SAMPLES / "digits_cnn.onnx"))
    found = measure_per_inference({"a": session, "b": session}, [FEED], PerRun(), rounds=3, seconds=0.01)
    assert found["a"].shape == found["b"].shape == (3,)
    assert all(0 < value <= 1 for values in found.values() for value in values)


def test_a_device_that_no_longer_tells_is_not_taken_for_one_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([1.0, 2.0, None, None, None])

    class Device:
        def joules(self) -> float | None:
            return next(told)

    monkeypatch.setattr(nvml, "open_device", lambda index: Device())
    counter = find_counter(Provider("CUDAExecutionProvider"))
    assert counter is not None
    assert counter.joules() == 2.0
    assert math.isnan(counter.joules())
    assert EnergyMeter(counter).add_command_joules(None) == {"source": NOT_MEASURABLE}
