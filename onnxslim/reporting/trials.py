"""What a search tried, as every form of the report tells it."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim.reporting import text
from onnxslim.reporting.figures import Report

#: How it was measured, for people.
MEASUREMENT_NOTE = (
    "the drop is that of the tune share; a trial is on the front (◆) when no other is at least as small, as fast and as "
    "right, and better in one of these"
)


@dataclass(frozen=True)
class TrialRow:
    """One trial: its name, figures as text, what became of it, and whether no other beats it in every respect."""

    name: str
    size: str
    median: str
    drop: str
    fate: str
    pareto: bool


def list_trials(report: Report) -> list[TrialRow]:
    """The trials in the order they ran; none where nothing was searched."""
    return [
        TrialRow(
            text.clean(entry["name"]),
            text.format_size(entry["bytes"]),
            text.format_milliseconds(entry["median_ms"]),
            _format_drop(entry),
            _describe_fate(entry, report.get("chosen")),
            bool(entry["pareto"]),
        )
        for entry in report.get("candidates") or []
    ]


def _format_drop(entry: Report) -> str:
    drop = entry["tune_drop"]
    if drop is None:
        return text.NO_VALUE
    return f"{text.format_signed(100 * drop)} points" if entry["unit"] == "%" else text.format_digits(drop)


def _describe_fate(entry: Report, chosen: object) -> str:
    if entry["error"]:
        return f"failed: {text.clean(entry['error'])}"
    if entry["name"] == chosen:
        return "chosen"
    missed = "; ".join(text.clean(line) for line in entry["missed"])
    fate = "passed on the tune share" if entry["passes"] else missed or "lost too much"
    return f"{fate} ({text.clean(entry['note'])})" if entry.get("note") else fate
