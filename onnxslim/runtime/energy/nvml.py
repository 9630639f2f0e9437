"""What an NVIDIA device says of itself, through the driver's library NVML, which needs no package."""

from __future__ import annotations

import ctypes
from typing import Any

_LIBRARY_NAMES = ("libnvidia-ml.so.1", "nvml.dll")


class _MemoryInfo(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class NvmlDevice:
    """One device. What it does not tell is None.

    Args:
        library: NVML, already initialised.
        index: Position of the device in NVML's list.
    """

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self.is_available = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(self._handle)) == 0

    def joules(self) -> float | None:
        """Energy since the driver was loaded (Volta and later)."""
        value = ctypes.c_ulonglong()
        failed = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value))
        return None if failed else value.value / 1000

    def used_bytes(self) -> int | None:
        """Memory in use, by everybody."""
        value = _MemoryInfo()
        failed = self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(value))
        return None if failed else int(value.used)


def open_device(index: int) -> NvmlDevice | None:
    """The device, or None where there is no driver or no such device."""
    for name in _LIBRARY_NAMES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        opened = NvmlDevice(library, index) if library.nvmlInit_v2() == 0 else None
        return opened if opened is not None and opened.is_available else None
    return None
