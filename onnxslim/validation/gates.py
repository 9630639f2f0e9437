"""Gates: what a result must reach to be written, and one line for each thing it does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from onnxslim.core.quantities import Bytes, Drop, Seconds, WholeShare
from onnxslim.validation.evaluation_accumulator import Evaluation, get_comparable_drop
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.statistics import samples_to_decide


@dataclass(frozen=True)
class Gates:
    """Constraints; None asks nothing.

    Attributes:
        max_drop: Of every metric that gates: in what weighs as much as points of top-1 (0.01 is one), or in the metric's
            own unit (:class:`~onnxslim.core.quantities.Units`).
        min_agreement: Share of samples whose answer is the original's.
        min_sqnr: Decibels, of every output.
        max_size: Bytes on disk with external data.
        min_ratio: How many times smaller than the original.
        max_latency: Seconds, the median of one inference; of a decoder's texts, of one step.
        max_prompt_latency: Seconds, the median of reading a prompt of the texts.
        min_speedup: How many times faster than the original.
        for_ort: The onnxruntime release that has to load the result; looked at before anything is judged.
        strict: Judge drop, agreement and times by the bad end of their 95 % interval, not by the value seen; what guards
            another metric is judged by the value seen all the same.
    """

    max_drop: Drop | None = None
    min_agreement: WholeShare | None = None
    min_sqnr: float | None = None
    max_size: Bytes | None = None
    min_ratio: float | None = None
    max_latency: Seconds | None = None
    max_prompt_latency: Seconds | None = None
    min_speedup: float | None = None
    for_ort: str | None = None
    strict: bool = False


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
    checks = _GateChecks(evaluation, latency, sizes, gates.strict)
    asked = {field.name: getattr(gates, field.name) for field in fields(gates) if hasattr(checks, f"check_{field.name}")}
    lines = [getattr(checks, f"check_{name}")(limit) for name, limit in asked.items() if limit is not None]
    return [line for line in lines if line is not None]


@dataclass(frozen=True)
class _GateChecks:
    """What was measured; ``check_GATE(limit)`` is the line for a field of :class:`Gates`, or None when that gate is met."""

    evaluation: Evaluation | None
    latency: Mapping[str, Any] | None
    sizes: Mapping[str, int] | None
    strict: bool

    def check_max_drop(self, limit: float) -> str | None:
        gating = [metric for metric in self.evaluation.gating if metric.drop is not None] if self.evaluation else []
        if not gating:
            return "max drop: no drop was measured (it needs the original as the reference)"
        lines = (self._check_drop(metric, limit) for metric in sorted(gating, key=get_comparable_drop, reverse=True))
        return next(filter(None, lines), None)

    def _check_drop(self, measured: MetricResult, limit: float) -> str | None:
        assert measured.drop is not None
        text, own_limit = measured.format_value, measured.get_own_limit(limit)
        verb = "drops" if measured.higher_is_better else "rises"
        values = f"({text(measured.original or 0)} to {text(measured.result)})"
        several = self.evaluation is not None and len({metric.output for metric in self.evaluation.gating}) > 1
        subject = measured.describe_subject() if several else measured.name
        description = f"{subject} {verb} by {text(measured.drop)} {values}"
        allowed = f"at most {text(own_limit)} is allowed"
        # one sample of 300 is 0.00333…: a drop of exactly the limit must not fail by its last bit
        if not (measured.get_drop_by(limit) or 0.0) <= limit + 1e-9:
            return f"{description}; {allowed}"
        if not self.strict or measured.guards:
            return None
        if measured.interval is None:
            return f"{description}, and {measured.n} samples are too few for an interval; {allowed} (strict)"
        if measured.interval[1] <= own_limit:
            return None
        needed = samples_to_decide(measured.drop, measured.interval, measured.n, own_limit)
        more = f"; about {needed} samples would decide" if needed else ""
        return f"{description}, its 95 % interval reaches {text(measured.interval[1])}; {allowed} (strict){more}"

    def check_min_agreement(self, limit: float) -> str | None:
        measured = self.evaluation.find("agreement") if self.evaluation else None
        if measured is None:
            return "agreement was not measured: the judged output has no answers to compare"
        low = 1 - measured.interval[1] if self.strict and measured.interval else measured.result
        note = f" (95 % interval from {measured.format_value(low)})" if self.strict else ""
        if low >= limit:
            return None
        return (
            f"agreement is {measured.format_value(measured.result)}{note}; at least {measured.format_value(limit)} is asked"
        )

    def check_min_sqnr(self, limit: float) -> str | None:
        outputs = self.evaluation.outputs if self.evaluation else {}
        sqnr_by_output = {name: fidelity.sqnr_db for name, fidelity in outputs.items() if not math.isnan(fidelity.sqnr_db)}
        if not sqnr_by_output:
            return "SQNR was not measured: no float output was compared"
        worst = min(sqnr_by_output, key=lambda name: sqnr_by_output[name])
        if sqnr_by_output[worst] >= limit:
            return None
        return f"SQNR of {worst} is {sqnr_by_output[worst]:.1f} dB; at least {limit:g} is asked"

    def check_max_size(self, limit: float) -> str | None:
        if not self.sizes:
            return "size was not measured"
        size = self.sizes["result"]
        return None if size <= limit else f"the result takes {size} bytes; at most {limit:.0f} are allowed"

    def check_min_ratio(self, limit: float) -> str | None:
        if not self.sizes:
            return "size was not measured"
        ratio = self.sizes["original"] / self.sizes["result"]
        return None if ratio >= limit else f"the result is {ratio:.2f}× smaller; at least {limit:g}× is asked"

    def check_max_latency(self, limit: float) -> str | None:
        if not self.latency:
            return "latency was not measured"
        return self._check_median(self.latency, f"a {self.latency['of']}" if "of" in self.latency else "an inference", limit)

    def check_max_prompt_latency(self, limit: float) -> str | None:
        if not self.latency or not self.latency.get("prompt"):
            return "the latency of a prompt was not measured: it needs a decoder with a cache and texts"
        return self._check_median(self.latency["prompt"], "a prompt", limit)

    def _check_median(self, latency: Mapping[str, Any], what: str, limit: float) -> str | None:
        times = latency["result"]
        latency_ms = times["interval_ms"][1] if self.strict else times["median_ms"]
        note = f" (95 % interval up to {latency_ms:.3g} ms)" if self.strict else ""
        if latency_ms <= 1000 * limit:
            return None
        return f"{what} takes {times['median_ms']:.3g} ms{note}; at most {1000 * limit:.3g} ms are allowed"

    def check_min_speedup(self, limit: float) -> str | None:
        if not self.latency:
            return "latency was not measured"
        ratio = self.latency["interval"][0] if self.strict else self.latency["ratio"]
        note = f" (95 % interval from {ratio:.3g}×)" if self.strict else ""
        if ratio >= limit:
            return None
        return f"the result is {self.latency['ratio']:.3g}× faster{note}; at least {limit:g}× is asked"
