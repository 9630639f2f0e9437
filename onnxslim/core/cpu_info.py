"""What the system says of its processor: the name and the instruction sets, on which int8 kernels depend."""

from __future__ import annotations

import os
import platform


def read_cpu_info() -> dict[str, str]:
    """What the kernel says of the first core, by its own names; nothing where it says nothing."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, value in lines.items()}


def count_own_cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def describe_cpu() -> dict[str, str]:
    """The processor as ``cpu``, and its ``flags`` with a space between two, as far as the system tells them."""
    info = read_cpu_info()
    # on Arm the kernel tells numbers, not names: cores that differ in speed have the same flags
    numbers = " ".join(f"{key} {info[key]}" for key in ("CPU implementer", "CPU part") if key in info)
    name = info.get("model name") or numbers or platform.processor() or platform.machine()
    return {"cpu": name, "flags": info.get("flags") or info.get("Features") or ""}
