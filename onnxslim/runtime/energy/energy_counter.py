"""Energy, read from a counter: RAPL of the processor's packages, or NVML of a device. No counter, no figure."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxslim.runtime.devices.device import TimedSession, current_device
from onnxslim.runtime.energy import nvml
from onnxslim.runtime.providers import Provider

NOT_MEASURABLE = "not measurable here"
_RAPL_ROOT = Path("/sys/class/powercap")


class EnergyCounter(Protocol):
    """Something that counts joules.

    Attributes:
        source: What it is, for the report.
    """

    source: str

    def joules(self) -> float:
        """Joules counted since some moment, of which only differences mean anything; NaN once it can no longer be read."""
        ...


class RaplCounter:
    """The counters of all processor packages, cores and caches included; they count what everybody uses.

    Args:
        root: Where the kernel shows them.

    Raises:
        OSError: There are none, or they may not be read (the kernel reserves them for root by default).
    """

    source = "RAPL, all processor packages, idle power included"

    def __init__(self, root: Path = _RAPL_ROOT) -> None:
        self._zones = sorted(root.glob("intel-rapl:[0-9]"))
        if not self._zones:
            raise FileNotFoundError(f"{root} shows no counters")
        self._ranges = [self._read(zone, "max_energy_range_uj") for zone in self._zones]
        self._last = [self._read(zone, "energy_uj") for zone in self._zones]
        self._total = 0

    def joules(self) -> float:
        """Joules since this was made; the range of a counter that wrapped around since the last call is added."""
        now = [self._read(zone, "energy_uj") for zone in self._zones]
        for index, (value, before, span) in enumerate(zip(now, self._last, self._ranges, strict=True)):
            self._total += value - before + (span if value < before else 0)
            self._last[index] = value
        return self._total / 1e6

    @staticmethod
    def _read(zone: Path, name: str) -> int:
        return int((zone / name).read_text(encoding="ascii"))


class _NvmlCounter:
    def __init__(self, device: nvml.NvmlDevice) -> None:
        self.source = "NVML, the whole device, idle power included"
        self._device = device

    def joules(self) -> float:
        joules = self._device.joules()
        return math.nan if joules is None else joules


def find_timed_counter(provider: Provider) -> EnergyCounter | None:
    """The counter of where models are timed; None on another machine, whose joules nothing here counts."""
    return find_counter(provider) if current_device() is None else None


def find_counter(provider: Provider, root: Path = _RAPL_ROOT) -> EnergyCounter | None:
    """The counter of where ``provider`` runs, or None where none can be read."""
    if not provider.is_cpu:
        device = nvml.open_device(provider.device)
        return _NvmlCounter(device) if device is not None and device.joules() is not None else None
    try:
        return RaplCounter(root)
    except (OSError, ValueError):
        return None


class EnergyMeter:
    """The joules of everything from its making on, where something counts them."""

    def __init__(self, energy_counter: EnergyCounter | None) -> None:
        self._counter = energy_counter
        self._start_joules = energy_counter.joules() if energy_counter is not None else 0.0

    def add_command_joules(self, energy: Mapping[str, Any] | None) -> dict[str, Any]:
        """The contract's ``energy`` with ``command_joules``, or with the note that nothing could be measured."""
        if self._counter is None:
            return dict(energy or {"source": NOT_MEASURABLE})
        joules = self._counter.joules() - self._start_joules
        if math.isnan(joules):
            return dict(energy or {"source": NOT_MEASURABLE})
        return {"source": self._counter.source, **(energy or {}), "command_joules": joules}


def measure_per_inference(
    sessions: Mapping[str, TimedSession],
    feeds: Sequence[Mapping[str, np.ndarray]],
    energy_counter: EnergyCounter,
    *,
    rounds: int = 7,
    seconds: float = 0.3,
) -> dict[str, np.ndarray]:
    """Joules of one inference, by session: a value a round, shape (rounds,), the sessions in turn within each; NaN where
    the counter could not be read.

    Args:
        sessions: What to measure.
        feeds: Inputs, gone through in turn.
        energy_counter: The counter.
        rounds: How often each has its turn.
        seconds: How long a turn lasts; a counter moves about every millisecond.
    """
    joules: dict[str, list[float]] = {name: [] for name in sessions}
    for index in range(rounds):
        names = list(sessions)
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            end = time.perf_counter() + seconds
            before = energy_counter.joules()
            for runs in itertools.count(1):
                sessions[name].run(feeds[runs % len(feeds)])
                if time.perf_counter() > end:
                    break
            joules[name].append((energy_counter.joules() - before) / runs)
    return {name: np.asarray(values) for name, values in joules.items()}
