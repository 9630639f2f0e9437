"""What was measured of machines, kept in the user's cache: a small file for each kind of figures, an entry a machine."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxslim.core.cache_folder import get_cache_folder
from onnxslim.core.cpu_info import count_own_cores, describe_cpu
from onnxslim.model_io.atomic_write import open_draft
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.session_config import version

#: Machines that one file knows; the oldest are forgotten.
MAX_MACHINES = 32
#: Of a number of cores that a device tells: nobody starts more threads than that for it.
_MAX_DIGITS = 4


def identify_machine() -> dict[str, str]:
    """What kernels depend on where models are timed: the processor with its flags, and the runtime."""
    device = current_device()
    return _identify_here() if device is None else {name: device.facts.get(name, "") for name in _identify_here()}


def is_this_machine() -> bool:
    """Whether what is measured now is measured on this machine, or on one that has the same processor and runtime."""
    return identify_machine() == _identify_here()


def _identify_here() -> dict[str, str]:
    return {**describe_cpu(), "onnxruntime": version()}


def name_processor() -> str:
    """The kind of processor that models are timed on, as ``platform.machine()`` names it there."""
    device = current_device()
    return platform.machine() if device is None else device.facts.get("machine", "")


def count_cores() -> int:
    """The cores that a process may use where models are timed."""
    device = current_device()
    if device is None:
        return count_own_cores()
    told = device.facts.get("cores", "")
    return max(1, int(told)) if told.isdecimal() and len(told) <= _MAX_DIGITS else 1


def get_path(kind: str) -> Path:
    """Where figures of ``kind`` are, in the user's cache."""
    return get_cache_folder() / f"{kind}.json"


def keep_figures(kind: str, machine: Mapping[str, str], figures: Any) -> Path | None:
    """Write ``figures``, which JSON can hold, as those of ``machine``; None where that cannot be written."""
    path, entry = get_path(kind), {"machine": dict(machine), "figures": figures}
    others = [other for other in _read_entries(kind) if other["machine"] != entry["machine"]]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_draft(str(path.parent)) as draft:
            draft.write(json.dumps([*others[-MAX_MACHINES + 1 :], entry]).encode())
            draft.publish(str(path))
    except OSError:
        return None
    return path


def read_figures(kind: str, machine: Mapping[str, str]) -> Any:
    """What was kept of ``machine``; None where nobody measured it."""
    return next((entry["figures"] for entry in _read_entries(kind) if entry["machine"] == dict(machine)), None)


def _read_entries(kind: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(get_path(kind).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    entries = found if isinstance(found, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and entry.keys() >= {"machine", "figures"}]
