"""``onnxslim doctor``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.errors import OnnxslimError
from onnxslim.quantize import contract
from onnxslim.quantize.machine import this_target
from onnxslim.quantize.paces import paces
from onnxslim.quantize.targets import TARGETS, Target
from onnxslim.report.text import clean
from onnxslim.result import Result
from onnxslim.runtime.energy import NOT_HERE, counter
from onnxslim.runtime.providers import CPU, PROVIDERS, Provider, parse
from onnxslim.runtime.session import SessionConfig, available_providers
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
    parts: list[RenderableType] = [grid(("", ""), rows)]
    if explain:
        lines = ((_verdict(line), clean(line["says"]), _left(line["ops"])) for line in report["contract"])
        parts.append(grid(("", "what is believed of the runtime", "what it left"), lines))
    share = "nothing above is private: paste it into an issue (--explain adds every op, --json everything)"
    parts.append(Text(share, "dim"))
    return Group(*parts, *warnings(report))


def _verdict(line: Mapping[str, Any]) -> str:
    return "holds" if line["claimed"] == line["fused"] else "DIFFERS"


def _left(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {op}" for op, count in ops.items())


@command("doctor", show=show)
def doctor(common: Common) -> Result:
    """What this machine and its runtime can do: versions, providers, what speeds int8 up, what can be measured."""
    found = foreign.find()
    cautions = [] if found is None else [f"{found.message}; {found.hint}"]
    findings = [*contract.check(TARGETS["cpu"]), *contract.check_claims()]
    machine = {
        "": {"onnxslim": __version__, "Python": platform.python_version(), "system": platform.platform()},
        "library": {name: _version(name) for name in _LIBRARIES},
        "CPU": _cpu(),
        "provider": {name: _provider(name) for name in PROVIDERS},
        "int8": _int8(findings, common.config.with_(provider="cpu"), cautions),
        "energy": {"counter": getattr(counter(Provider(CPU)), "source", NOT_HERE)},
    }
    found_out = [{"says": f.op, "claimed": f.claimed, "fused": f.fused, "ops": f.ops} for f in findings]
    return Result("doctor", extra={"machine": machine, "contract": found_out}, warnings=cautions)


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


def _int8(findings: list[contract.Finding], config: SessionConfig, cautions: list[str]) -> dict[str, str]:
    """Whether this runtime fuses what the tables say, which of them holds here, and what int8 gains by it."""
    for finding in findings:
        if not finding.holds:
            does = "runs" if finding.fused else "does not run"
            said = f"{does} {finding.op} in int8" if finding in findings[:_rows()] else f"does otherwise than: {finding.op}"
            cautions.append(f"this onnxruntime {said}; the tables say otherwise, please report this")
    rows, claims = findings[: _rows()], findings[_rows() :]
    here = this_target(config)
    sums = "saturate" if here == "cpu-no-vnni" else "are exact"
    return {
        "table": f"{here}: sums of uint8 · int8 products {sums}",
        "ops": f"{sum(f.holds for f in rows)} of {len(rows)} run as the table says",
        "conditions": f"{sum(f.holds for f in claims)} of {len(claims)} hold",
        **{name: f"{ratio:.2f}× float" for name, ratio in paces(config).items()},
        **{name: _elsewhere(target) for name, target in TARGETS.items() if target.provider != "cpu"},
    }


def _rows() -> int:
    return len(TARGETS["cpu"].rows) + len(contract.UNFUSED)


def _elsewhere(target: Target) -> str:
    """What is known of a target on another provider, by this machine where it has it."""
    if target.provider == "cuda" and PROVIDERS["cuda"][0] in available_providers():
        own = SessionConfig(provider="cuda")
        fused = [finding.op for finding in contract.check(TARGETS["cpu"], own) if finding.claimed and finding.fused]
        return f"float16; in int8 run: {', '.join(fused) or 'none, as the table says'}"
    way = "float16" if target.why_not else "static int8, symmetric"
    return f"{way}; expected, not verified here: no {PROVIDERS[target.provider][0]}"


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
