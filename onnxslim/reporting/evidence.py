"""What the figures prove, and how an error goes on in time: sentences for every form of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxslim.reporting import figures, text
from onnxslim.reporting.storage import describe_storage

Report = Mapping[str, Any]


#: So many outputs are told what they were taken for unless everything is asked for.
_MAX_KINDS = 4


def list_evidence(report: Report, *, explain: bool = False) -> list[str]:
    """One sentence each: what was checked, which sizes weights could have, what the outputs were taken for, the smallest
    drop that could be proved, whether the limit is decided, the error in time.

    Args:
        report: See :mod:`onnxslim.reporting`.
        explain: Tell of every output, and of other readings.
    """
    kinds = (report.get("judged") or {}).get("kinds") or []
    return [
        *describe_checks(report), *describe_storage(report, explain=explain), *describe_kinds(kinds, explain=explain),
        *_describe_proof(report), *_describe_drift(report),
    ]  # fmt: skip


def describe_checks(report: Report) -> Iterator[str]:
    """What ``verify`` asked of its candidate, or of each model of a folder, a line each."""
    for check in (report.get("verification") or {}).get("checks") or []:
        model = f"{text.clean(check['model'])}: " if check.get("model") else ""
        yield f"{model}{text.clean(check['name'])}: {check['verdict']}: {text.clean(check['message'])}"


def describe_kinds(kinds: Sequence[Mapping[str, Any]], *, explain: bool = False) -> Iterator[str]:
    """What each output was taken for and why, a line each; those that gate nothing only where everything is asked for."""
    told = [kind for kind in kinds if explain or kind["gates"]]
    for kind in told if explain else told[:_MAX_KINDS]:
        by = ", ".join(figures.metric_name(name) for name in kind["gates"])
        judged = f"judged by {by}" if by else "not judged"
        line = f"{', '.join(map(text.clean, kind['outputs']))}: {kind['kind']}, {judged}: {text.clean(kind['reason'])}"
        yield f"{line} (or {text.clean(kind['alternative'])})" if explain and kind.get("alternative") else line
    if len(told) > _MAX_KINDS and not explain:
        yield f"{len(told) - _MAX_KINDS} more outputs are judged: --explain tells of each"


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
    for name, output in figures.list_told_outputs(report).items():
        stretches = output.get("over_time") or []
        if len(stretches) > 1:
            levels = ", ".join(f"{s['first']}–{s['last']}: {_format_sqnr(s['sqnr_db'])}" for s in stretches)
            yield f"SQNR of {text.clean(name)} over time, by steps {levels}"


def _format_sqnr(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f} dB"
