"""``onnxslim doctor``."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from onnxslim.core.errors import OnnxslimError
from onnxslim.core.version import __version__
from onnxslim.pipeline.result import Result
from onnxslim.quantization.conformance import pattern_checks
from onnxslim.quantization.conformance.costly_forms import measure_costs
from onnxslim.quantization.conformance.microbenchmarks import measure_int8_speedups
from onnxslim.quantization.targets import onnxruntime_cpu
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.detect import detect_target
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.reporting.text import clean
from onnxslim.runtime.devices.device import current_device
from onnxslim.runtime.devices.machine_figures import count_cores, identify_machine, name_processor
from onnxslim.runtime.energy.energy_counter import NOT_MEASURABLE, find_counter
from onnxslim.runtime.providers import CPU, PROVIDERS, Provider, parse_provider
from onnxslim.runtime.session import SessionConfig, available_providers
from onnxslim.simplification.speed.measurement import TimedClaim, time_claims
from onnxslim.tools.measured_costs import keep_costs

from .. import name_clash
from ..command import command
from ..console.tables import format_warnings, make_grid
from ..options import shared_options
from ..options.common_options import CommonOptions

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
    parts: list[RenderableType] = [make_grid(("", ""), rows)]
    if explain:
        lines = ((_format_verdict(line), clean(line["says"]), _format_ops(line["ops"])) for line in report["contract"])
        parts.append(make_grid(("", "what is believed of the runtime", "what it left"), lines))
        rewrites = (
            (_format_outcome(line), clean(f"{line['rule']}: {line['says']}"), _format_speed(line))
            for line in report["rewrites"]
        )
        parts.append(make_grid(("", "exact rewrites", "rewritten"), rewrites))
    share = "nothing above is private: paste it into an issue (--explain adds every op, --json everything)"
    parts.append(Text(share, "dim"))
    return Group(*parts, *format_warnings(report))


def _format_verdict(line: Mapping[str, Any]) -> str:
    return "holds" if line["claimed"] == line["fused"] else "DIFFERS"


def _format_outcome(line: Mapping[str, Any]) -> str:
    return "holds" if line["holds"] else "DIFFERS"


def _format_speed(line: Mapping[str, Any]) -> str:
    return f"{line['speedup']:.2f}× as fast, so it is {'done' if line['gains'] else 'left out'}"


def _format_ops(ops: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {op}" for op, count in ops.items())


@command("doctor", show=show)
@shared_options.on
def doctor(common: CommonOptions) -> Result:
    """What this machine and its runtime can do: versions, providers, what speeds int8 up, what can be measured."""
    clash = name_clash.find_clash()
    cautions = [] if clash is None else [f"{clash.message}; {clash.hint}"]
    findings = [*pattern_checks.check_target(onnxruntime_cpu.CPU), *pattern_checks.check_claims()]
    timed_claims = time_claims(common.config.with_(provider="cpu"))
    machine = {
        **_describe_software(),
        "CPU": _describe_cpu(),
        "int8": _describe_int8(findings, common.config.with_(provider="cpu"), cautions),
        "forms that cost": _describe_costs(common.config.with_(provider="cpu")),
        "exact rewrites": _describe_rewrites(timed_claims),
    }
    contract_lines = [{"says": f.op, "claimed": f.claimed, "fused": f.fused, "ops": f.ops} for f in findings]
    rewrite_lines = [
        {
            "rule": t.rule,
            "says": t.claim.description,
            "gains": t.claim.gains,
            "speedup": round(t.speedup, 3),
            "holds": t.holds,
        }
        for t in timed_claims
    ]
    extra = {"machine": machine, "contract": contract_lines, "rewrites": rewrite_lines}
    return Result("doctor", extra=extra, warnings=cautions)


def _describe_costs(config: SessionConfig) -> dict[str, str]:
    """What forms cost that ``inspect`` warns of, measured and kept for it."""
    costs = measure_costs(config)
    keep_costs(costs)
    return {form: f"{factor:.2f}× as long" for form, factor in costs.items()}


def _find_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _describe_provider(name: str) -> str:
    try:
        return f"yes ({parse_provider(name, available_providers()).name})"
    except OnnxslimError as error:
        return f"no; {error.hint}"


def _describe_rewrites(timed_claims: list[TimedClaim]) -> dict[str, str]:
    """How many of the rules' claims about time hold here, and those that do not."""
    differing = {
        f"{t.rule}: {t.claim.description}": f"{t.speedup:.2f}×, otherwise than believed" for t in timed_claims if not t.holds
    }
    return {"claims": f"{len(timed_claims) - len(differing)} of {len(timed_claims)} hold", **differing}


def _describe_int8(
    findings: list[pattern_checks.ConformanceResult], config: SessionConfig, cautions: list[str]
) -> dict[str, str]:
    """Whether this runtime fuses what the tables say, which of them holds here, and what int8 gains by it."""
    for finding in findings:
        if not finding.holds:
            behavior = "runs" if finding.fused else "does not run"
            difference = (
                f"{behavior} {finding.op} in int8"
                if finding in findings[: _count_table_rows()]
                else f"does otherwise than: {finding.op}"
            )
            cautions.append(f"this onnxruntime {difference}; the tables say otherwise, please report this")
    rows, claims = findings[: _count_table_rows()], findings[_count_table_rows() :]
    target = detect_target(config)
    sums = "saturate" if target.saturating_pairs else "are exact"
    return {
        "table": f"{target.name}: sums of uint8 · int8 products {sums}",
        "ops": f"{sum(f.holds for f in rows)} of {len(rows)} run as the table says",
        "conditions": f"{sum(f.holds for f in claims)} of {len(claims)} hold",
        **{name: f"{ratio:.2f}× float" for name, ratio in measure_int8_speedups(config).items()},
        **{name: _describe_target(other) for name, other in TARGETS.items() if not other.runs_on(target.provider)},
    }


def _count_table_rows() -> int:
    return len(onnxruntime_cpu.CPU.supported_ops) + len(pattern_checks.UNFUSED_PATTERNS)


def _describe_target(target: Target) -> str:
    """What is known of a target that this machine's CPU is not, by this machine where it has its provider."""
    scheme = "float16" if target.unsupported_reason else f"static int8{', symmetric' if target.activation_symmetric else ''}"
    provider = PROVIDERS[target.provider][0]
    if provider not in available_providers():
        return f"{scheme}; expected, not verified here: no {provider}"
    if not target.runs_on(target.provider):
        return f"{scheme}; expected, not verified here: this machine is {name_processor()}"
    if not target.probed_ops:
        return f"{scheme}; expected, not verified here"
    findings = pattern_checks.check_target(
        replace(target, supported_ops=target.probed_ops), SessionConfig(provider=target.provider)
    )
    fused = [finding.op for finding in findings if finding.claimed and finding.fused]
    return f"{scheme}; in int8 run: {', '.join(fused) or 'none, as the table says'}"


def _describe_cpu() -> dict[str, str]:
    """Name, cores a process may use, and the flags that matter; what cannot be read is left out."""
    machine = identify_machine()
    flags = machine["flags"].split()
    known = {"flags": " ".join(flag for flag in _FLAGS if flag in flags)} if flags else {}
    return {"name": machine["cpu"], "cores": str(count_cores()), **known}


def _describe_software() -> dict[str, dict[str, str]]:
    """What is installed where it is measured; of a device what its worker says."""
    device = current_device()
    if device is not None:
        about = {name: device.facts.get(name, "unknown") for name in ("onnxslim", "system", "machine")}
        return {
            "": {"timed at": device.name, **about},
            "library": {"onnxruntime": device.facts.get("onnxruntime", "unknown")},
        }
    return {
        "": {"onnxslim": __version__, "Python": platform.python_version(), "system": platform.platform()},
        "library": {name: _find_version(name) for name in _LIBRARIES},
        "provider": {name: _describe_provider(name) for name in PROVIDERS},
        "energy": {"counter": getattr(find_counter(Provider(CPU)), "source", NOT_MEASURABLE)},
    }
