"""Energy: joules from a counter, and none where there is none."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.energy_estimate import estimate_energy
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime import nvml
from onnxslim.runtime.energy_counter import NOT_MEASURABLE, EnergyMeter, RaplCounter, find_counter, measure_per_inference
from onnxslim.runtime.providers import CPU, Provider
from onnxslim.runtime.session import Session
from onnxslim.validation.energy import measure_energy
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


class PerRun:
    """A counter that every look advances by a joule, whoever runs: as many inferences, as many times less for each."""

    source = "a test"

    def __init__(self) -> None:
        self.now = 0.0

    def joules(self) -> float:
        self.now += 1.0
        return self.now


def test_joules_are_divided_by_the_inferences_they_paid_for() -> None:
    session = Session(model_file.load(SAMPLES / "digits_cnn.onnx"))
    found = measure_per_inference({"a": session, "b": session}, [FEED], PerRun(), rounds=3, seconds=0.01)
    assert found["a"].shape == found["b"].shape == (3,)
    assert all(0 < value <= 1 for values in found.values() for value in values)


def test_a_measured_energy_is_a_ratio_with_its_interval_and_an_estimate_is_called_one() -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    models, sessions = {"original": model, "result": model}, dict.fromkeys(("original", "result"), Session(model))
    measured = measure_energy(models, sessions, [FEED], PerRun())
    assert measured["source"] == "a test"
    assert measured["original"]["millijoules"] > 0
    low, high = measured["result"]["interval"]
    assert low <= measured["result"]["relative"] <= high
    assert measure_energy(models, sessions, [FEED], None) == {"source": NOT_MEASURABLE, "relative_estimate": 1.0}


def test_int8_is_estimated_to_take_less_and_twice_the_work_twice_the_arithmetic() -> None:
    from onnxslim.data.sources import open_samples

    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    int8, _ = quantize(model, open_samples(SAMPLES / "digits_calib.npz", model), QuantizeOptions(float_units=()))
    before, after = estimate_energy(model), estimate_energy(int8)
    assert after.arithmetic < before.arithmetic / 5
    assert after.traffic < before.traffic
    conv = _convolution(8), _convolution(16)
    assert estimate_energy(conv[1]).arithmetic == pytest.approx(2 * estimate_energy(conv[0]).arithmetic)


def _convolution(channels: int) -> ir.Model:
    kind = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", type=kind, shape=ir.Shape([1, 3, 8, 8]))
    w = ir.Value(name="w", type=kind, shape=ir.Shape([channels, 3, 1, 1]))
    w.const_value = ir.tensor(np.ones((channels, 3, 1, 1), np.float32), name="w")
    node = ir.node("Conv", [x, w], name="conv")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", kind, ir.Shape([1, channels, 8, 8])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


class FakeNvml:
    """NVML's C interface: one device, which has used 1234 mJ and holds 5 bytes."""

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:  # noqa: N802
        return 0 if index.value == 0 else 6

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, value: Any) -> int:  # noqa: N802
        value._obj.value = 1234
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, value: Any) -> int:  # noqa: N802
        value._obj.used = 5
        return 0


def test_a_device_tells_its_joules_and_bytes_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeNvml())
    device = nvml.open_device(0)
    assert device is not None
    assert (device.joules(), device.used_bytes()) == (1.234, 5)
    assert nvml.open_device(1) is None


def test_without_a_driver_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert nvml.open_device(0) is None
