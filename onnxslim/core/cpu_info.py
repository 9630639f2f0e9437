"""What the system says of its processor: the name and the instruction sets, on which int8 kernels depend."""

from __future__ import annotations

import platform


def read_cpu_info() -> dict[str, str]:
    """What the kernel says of the first core, by its own names; nothing where it says nothing."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, value in lines.items()}


def describe_cpu() -> dict[str, str]:
    """The processor as ``cpu``, and its ``flags`` with a space between two, as far as the system tells them."""
    info = read_cpu_info()
    name = info.get("model name") or platform.processor() or platform.machine()
    return {"cpu": name, "flags": info.get("flags") or info.get("Features") or ""}
