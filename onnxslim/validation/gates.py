"""Gates: what a result must reach to be written, and one line for each thing it does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.core.quantities import Bytes, Drop, Seconds, WholeShare
from onnxslim.validation.evaluation_accumulator import Evaluation
from onnxslim.validation.statistics import samples_to_decide


@dataclass(frozen=True)
class Gates:
    """Constraints; None asks nothing.

    Attributes:
        max_drop: Of the first metric, in its unit (0.01 is one point of top-1).
        min_agreement: Share of samples whose answer is the original's.
        min_sqnr: Decibels, of every output.
        max_size: Bytes on disk with external data.
        min_ratio: How many times smaller than the original.
        max_latency: Seconds, the median of one inference.
        min_speedup: How many times faster than the original.
        for_ort: The onnxruntime release that has to load the result; looked at before anything is judged.
        strict: Judge drop, agreement and times by the bad end of their 95 % interval, not by the value seen.
    """

    max_drop: Drop | None = None
    min_agreement: WholeShare | None = None
    min_sqnr: float | None = None
    max_size: Bytes | None = None
    min_ratio: float | None = None
    max_latency: Seconds | None = None
    min_speedup: float | None = None
    for_ort: str | None = None
    strict: bool = False


@dataclass(frozen=True)
class _GateEvidence:
    evaluation: Evaluation | None
    latency: Mapping[str, Any] | None
    sizes: Mapping[str, int] | None


def find_gate_failures(
    gates: Gates,
    evaluation: Evaluation | None,
    latency: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> list[str]:
    """One line with the numbers for every gate that is not met; a gate on what was not measured is not met.

    Args:
        gates: What is asked.
        evaluation: Of the result against the original.
        latency: From :func:`~onnxslim.validation.latency.summarize`.
        sizes: Bytes of ``original`` and ``result``.
    """
    evidence = _GateEvidence(evaluation, latency, sizes)
    checks = [(check, getattr(gates, name)) for name, check in _GATE_CHECKS.items()]
    return [line for check, limit in checks if limit is not None and (line := check(evidence, limit, gates.strict))]


def _check_max_drop(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    measured = evidence.evaluation.metric if evidence.evaluation else None
    if measured is None or measured.drop is None:
        return "max drop: no drop was measured (it needs the original as the reference)"
    text = measured.format_value
    description = (
        f"{measured.name} drops by {text(measured.drop)} ({text(measured.original or 0)} to {text(measured.result)})"
    )
    allowed = f"at most {text(limit)} is allowed"
    # one sample of 300 is 0.00333…: a drop of exactly the limit must not fail by its last bit
    if not measured.drop <= limit + 1e-9:
        return f"{description}; {allowed}"
    if not strict:
        return None
    if measured.interval is None:
        return f"{description}, and {measured.n} samples are too few for an interval; {allowed} (strict)"
    if measured.interval[1] <= limit:
        return None
    needed = samples_to_decide(measured.drop, measured.interval, measured.n, limit)
    more = f"; about {needed} samples would decide" if needed else ""
    return f"{description}, its 95 % interval reaches {text(measured.interval[1])}; {allowed} (strict){more}"


def _check_min_agreement(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    measured = evidence.evaluation.find("agreement") if evidence.evaluation else None
    if measured is None:
        return "agreement was not measured: the judged output has no answers to compare"
    low = 1 - measured.interval[1] if strict and measured.interval else measured.result
    note = f" (95 % interval from {measured.format_value(low)})" if strict else ""
    if low >= limit:
        return None
    return f"agreement is {measured.format_value(measured.result)}{note}; at least {measured.format_value(limit)} is asked"


def _check_min_sqnr(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    outputs = evidence.evaluation.outputs if evidence.evaluation else {}
    sqnr_by_output = {name: fidelity.sqnr_db for name, fidelity in outputs.items() if not math.isnan(fidelity.sqnr_db)}
    if not sqnr_by_output:
        return "SQNR was not measured: no float output was compared"
    worst = min(sqnr_by_output, key=lambda name: sqnr_by_output[name])
    return (
        None
        if sqnr_by_output[worst] >= limit
        else f"SQNR of {worst} is {sqnr_by_output[worst]:.1f} dB; at least {limit:g} is asked"
    )


def _check_max_size(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    if not evidence.sizes:
        return "size was not measured"
    size = evidence.sizes["result"]
    return None if size <= limit else f"the result takes {size} bytes; at most {limit:.0f} are allowed"


def _check_min_ratio(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    if not evidence.sizes:
        return "size was not measured"
    ratio = evidence.sizes["original"] / evidence.sizes["result"]
    return None if ratio >= limit else f"the result is {ratio:.2f}× smaller; at least {limit:g}× is asked"


def _check_max_latency(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    if not evidence.latency:
        return "latency was not measured"
    times = evidence.latency["result"]
    latency_ms = times["interval_ms"][1] if strict else times["median_ms"]
    note = f" (95 % interval up to {latency_ms:.3g} ms)" if strict else ""
    if latency_ms <= 1000 * limit:
        return None
    return f"an inference takes {times['median_ms']:.3g} ms{note}; at most {1000 * limit:.3g} ms are allowed"


def _check_min_speedup(evidence: _GateEvidence, limit: float, strict: bool) -> str | None:
    if not evidence.latency:
        return "latency was not measured"
    ratio = evidence.latency["interval"][0] if strict else evidence.latency["ratio"]
    note = f" (95 % interval from {ratio:.3g}×)" if strict else ""
    if ratio >= limit:
        return None
    return f"the result is {evidence.latency['ratio']:.3g}× faster{note}; at least {limit:g}× is asked"


#: field of :class:`Gates` → (evidence, limit, strict) → the line, or None when the gate is met
_GATE_CHECKS: dict[str, Callable[[_GateEvidence, float, bool], str | None]] = {
    "max_drop": _check_max_drop,
    "min_agreement": _check_min_agreement,
    "min_sqnr": _check_min_sqnr,
    "max_size": _check_max_size,
    "min_ratio": _check_min_ratio,
    "max_latency": _check_max_latency,
    "min_speedup": _check_min_speedup,
}
