"""``onnxslim doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxslim.errors import OnnxslimError
from onnxslim.quantize.targets import TARGETS
from onnxslim.report.text import clean
from onnxslim.result import Result
from onnxslim.runtime.providers import PROVIDERS, parse
from onnxslim.runtime.session import available_providers
from onnxslim.version import __version__

from . import foreign
from .command import command
from .common import Common

#: What the outcome may depend on, by distribution.
_LIBRARIES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "scipy", "torch")
#: CPU flags that decide how fast int8 runs, newest first, as /proc/cpuinfo spells them.
_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "i8mm", "sve")
_ENERGY = "/sys/class/powercap/intel-rapl:0/energy_uj"


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """Section by section, one fact a line."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for section, facts in report["machine"].items():
        for name, value in facts.items():
            table.add_row(Text(f"{section} {name}".strip()), Text(clean(value), overflow="fold"))
        table.add_section()
    return Group(
        table, *(Text.assemble(("warning: ", "bold yellow"), clean(line)) for line in report["warnings"])
    )


@command("doctor", show=show)
def doctor(common: Common) -> Result:
    """What this machine and its runtime can do: versions, providers, what speeds int8 up, what can be measured."""
    found = foreign.find()
    machine = {
        "": {"onnxslim": __version__, "Python": platform.python_version(), "system": platform.platform()},
        "library": {name: _version(name) for name in _LIBRARIES},
        "CPU": _cpu(),
        "provider": {name: _provider(name) for name in PROVIDERS},
        "target": {name: target.why_not or "int8" for name, target in TARGETS.items()},
        "energy": {"counter": "RAPL" if os.access(_ENERGY, os.R_OK) else "not measurable here"},
    }
    warnings = [] if found is None else [f"{found.message}; {found.hint}"]
    return Result("doctor", extra={"machine": machine}, warnings=warnings)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _provider(name: str) -> str:
    try:
        return f"yes ({parse(name, available_providers()).name})"
    except OnnxslimError as error:
        return f"no; {error.hint}"


def _cpu() -> dict[str, str]:
    """Name, cores this process may use, and the flags that matter; what cannot be read is left out."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = {"cores": str(len(affinity(0)) if affinity is not None else os.cpu_count())}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(
                line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line
            )
    except OSError:
        return {"name": platform.processor() or platform.machine(), **found}
    about = {key.strip(): value.strip() for key, value in lines.items()}
    flags = (about.get("flags") or about.get("Features") or "").split()
    return {
        "name": about.get("model name", platform.machine()),
        **found,
        "flags": " ".join(f for f in _FLAGS if f in flags),
    }
