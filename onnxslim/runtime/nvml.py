"""What an NVIDIA device says of itself, through the driver's library NVML, which needs no package."""

from __future__ import annotations

import ctypes
from typing import Any

_NAMES = ("libnvidia-ml.so.1", "nvml.dll")


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Device:
    """One device. What it does not tell is None.

    Args:
        library: NVML, already initialised.
        index: Of the device.
    """

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self.there = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(self._handle)) == 0

    def joules(self) -> float | None:
        """Energy since the driver was loaded (Volta and later)."""
        value = ctypes.c_ulonglong()
        failed = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value))
        return None if failed else value.value / 1000

    def used_bytes(self) -> int | None:
        """Memory in use, by everybody."""
        value = _Memory()
        failed = self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(value))
        return None if failed else int(value.used)


def device(index: int) -> Device | None:
    """The device, or None where there is no driver or no such device."""
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        found = Device(library, index) if library.nvmlInit_v2() == 0 else None
        return found if found is not None and found.there else None
    return None
