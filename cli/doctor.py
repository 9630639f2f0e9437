"""``onnxslim doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from onnxslim.errors import OnnxslimError
from onnxslim.quantize import contract
from onnxslim.quantize.targets import TARGETS, Target
from onnxslim.report.text import clean
from onnxslim.result import Result
from onnxslim.runtime.energy import NOT_HERE, counter
from onnxslim.runtime.providers import CPU, PROVIDERS, Provider, parse
from onnxslim.runtime.session import available_providers
from onnxslim.version import __version__

from . import foreign
from .command import command
from .common import Common
from .show import grid, warnings

#: What the outcome may depend on, by distribution.
_LIBRARIES = ("onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy", "scipy", "torch")
#: CPU flags that decide how fast int8 runs, newest first, as /proc/cpuinfo spells them.
_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "asimddp", "i8mm", "sve")


def show(report: Mapping[str, Any], /, *, explain: bool = False) -> RenderableType:
    """Section by section, one fact a line."""
    rows = (
        (f"{section} {name}".strip(), clean(value))
        for section, facts in report["machine"].items()
        for name, value in facts.items()
    )
    return Group(grid(("", ""), rows), *warnings(report))


@command("doctor", show=show)
def doctor(common: Common) -> Result:
    """What this machine and its runtime can do: versions, providers, what speeds int8 up, what can be measured."""
    found = foreign.find()
    cautions = [] if found is None else [f"{found.message}; {found.hint}"]
    machine = {
        "": {"onnxslim": __version__, "Python": platform.python_version(), "system": platform.platform()},
        "library": {name: _version(name) for name in _LIBRARIES},
        "CPU": _cpu(),
        "provider": {name: _provider(name) for name in PROVIDERS},
        "int8": {name: target.why_not or _int8(target, cautions) for name, target in TARGETS.items()},
        "energy": {"counter": getattr(counter(Provider(CPU)), "source", NOT_HERE)},
    }
    return Result("doctor", extra={"machine": machine}, warnings=cautions)


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


def _int8(target: Target, cautions: list[str]) -> str:
    """Whether this runtime fuses what the table of ``target`` says that it fuses; each difference is a caution."""
    if target.provider != "cpu":
        return "not looked at: runs on another provider"
    findings = contract.check(target)
    for finding in findings:
        if finding.claimed != finding.fused:
            does = "runs" if finding.fused else "does not run"
            cautions.append(f"target {target.name}: this runtime {does} {finding.op} in int8, the table says otherwise")
    right = sum(finding.claimed == finding.fused for finding in findings)
    return f"{right} of {len(findings)} ops run as the table says"


def _cpu() -> dict[str, str]:
    """Name, cores this process may use, and the flags that matter; what cannot be read is left out."""
    affinity = getattr(os, "sched_getaffinity", None)
    found = {"cores": str(len(affinity(0)) if affinity is not None else os.cpu_count())}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return {"name": platform.processor() or platform.machine(), **found}
    about = {key.strip(): value.strip() for key, value in lines.items()}
    flags = (about.get("flags") or about.get("Features") or "").split()
    return {
        "name": about.get("model name", platform.machine()),
        **found,
        "flags": " ".join(f for f in _FLAGS if f in flags),
    }
