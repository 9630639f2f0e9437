"""The memory of running a model, measured in a process of its own, where nothing else is."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.model_io import model_file
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.energy import nvml
from onnxslim.runtime.isolation import start_child
from onnxslim.runtime.providers import parse_provider
from onnxslim.runtime.session_config import SessionConfig, available_providers, build_request

logger = logging.getLogger(__name__)

#: Runs in the child: two inferences; the resident set before the session and after them, now and at its peak. Linux
#: hands ru_maxrss on from parent to child, so there the kernel's own high-water mark of the address space is read.
_MEASURING_CHILD = """
import numpy as np
def read():
    try:
        with open("/proc/self/status") as file:
            told = dict(line.split(":", 1) for line in file)
        return [int(told[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM")]
    except OSError:
        import resource
        return [0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
feeds = dict(np.load(sys.argv[2]))
before = read()
session = make_session()
for _ in range(2):
    session.run(None, feeds)
after = read()
print(json.dumps([before, after]), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class MemoryUsage:
    """Bytes that loading a model and running it twice adds to a bare process; None where that cannot be told.

    Attributes:
        resident: What is still held afterwards.
        peak: The most that was held at a time.
        device: What the device holds meanwhile, by NVML; None on the CPU.
    """

    resident: int | None
    peak: int | None
    device: int | None = None


def measure_memory(model: ir.Model, feed: Mapping[str, np.ndarray], config: SessionConfig) -> MemoryUsage:
    """Measure ``model`` on ``feed``, on the provider and with the options of ``config``; nothing where models are timed on a
    device that is not this machine.
    """
    if sys.platform == "win32" or current_device() is not None:  # what it takes here says nothing of there
        return MemoryUsage(None, None)
    provider = parse_provider(config.provider, available_providers())
    device = None if provider.is_cpu else nvml.open_device(provider.device)
    with tempfile.TemporaryDirectory(prefix="onnxslim-") as name:
        folder = Path(name)
        path = model_file.save_for_runtime(model, name)
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in feed.items()}
        np.savez(folder / "feed.npz", **arrays)
        request = {**build_request(config.with_(optimize=True)), "model": path}
        device_before = None if device is None else device.used_bytes()
        with start_child(_MEASURING_CHILD, request, str(folder / "feed.npz")) as child:
            assert child.stdout is not None
            line = child.stdout.readline()  # it has run, and waits: what it holds can be looked at
            device_after = None if device is None else device.used_bytes()
            _, errors = child.communicate()
    if not line:
        logger.debug("memory could not be measured: %s", errors.strip().splitlines()[-1:])
        return MemoryUsage(None, None)
    (resident, peak), (resident_after, peak_after) = json.loads(line)
    device_bytes = None if device_before is None or device_after is None else device_after - device_before
    return MemoryUsage(resident_after - resident if resident else None, peak_after - peak, device_bytes)


def measure_peak(model: ir.Model, feed: Mapping[str, np.ndarray], config: SessionConfig) -> int | None:
    """The peak alone, on the CPU provider; None elsewhere, where the process's memory is not what a model takes."""
    return measure_memory(model, feed, config).peak if config.is_cpu else None


def release_freed_memory() -> None:
    """Return what was freed to the system, where the C library keeps it (glibc); elsewhere nothing.

    A session's blocks are freed on the threads that ran it, and glibc keeps those for each thread.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class GrowthLimit:
    """Returns what was freed to the system whenever the process has grown by so many bytes since it last did.

    Args:
        max_bytes: How many; fewer make it return blocks that are needed again at once.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        release_freed_memory()
        self._before = read_resident_bytes()

    def keep(self) -> None:
        """To be called between the parts of a work."""
        now = read_resident_bytes()
        if now is not None and self._before is not None and now - self._before > self._max_bytes:
            release_freed_memory()
            self._before = read_resident_bytes()


def read_resident_bytes() -> int | None:
    """Resident bytes of this process now; None where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def read_process_peak() -> int | None:
    """Peak resident bytes of this process so far; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")), None)
    except OSError:
        return None
