"""What a device tells of itself through NVML."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from onnxslim.runtime.energy import nvml


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
