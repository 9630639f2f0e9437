"""What the figures prove, and how an error goes on in time: sentences for every form of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxslim.reporting import figures, text

Report = Mapping[str, Any]


def list_evidence(report: Report) -> list[str]:
    """One sentence each: the smallest drop that could be proved, whether the limit is decided, the error in time."""
    return [*_describe_proof(report), *_describe_drift(report)]


def _describe_proof(report: Report) -> Iterator[str]:
    metric = next(iter(report.get("metrics") or []), None)
    if metric is None or metric.get("drop") is None:
        return
    unit, name = metric.get("unit", "%"), figures.metric_name(metric["name"])
    if metric.get("provable") is not None:
        yield f"{metric['n']} samples could prove that {name} drops by {_format_amount(metric['provable'], unit)} or more"
    decision = report.get("decision")
    if decision:
        limit, needed = _format_amount(decision["limit"], unit), decision["samples"]
        if needed is None:
            yield f"no number of samples would decide whether it drops by more than {limit}: it sits on that"
        elif needed > metric["n"]:
            yield f"about {needed} samples would decide whether it drops by more than {limit}; these do not"
        else:
            side = "no more" if metric["drop"] <= decision["limit"] else "more"
            yield f"these samples do decide that it drops by {side} than {limit}"


def _format_amount(value: float, unit: str) -> str:
    return f"{100 * value:.2f} points" if unit == "%" else text.format_digits(value)


def _describe_drift(report: Report) -> Iterator[str]:
    for name, output in (report.get("outputs") or {}).items():
        stretches = output.get("over_time") or []
        if len(stretches) > 1:
            levels = ", ".join(f"{s['first']}–{s['last']}: {_format_sqnr(s['sqnr_db'])}" for s in stretches)
            yield f"SQNR of {text.clean(name)} over time, by steps {levels}"


def _format_sqnr(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"
