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
    """One trial: its name, figures as text, what became of it, whether no other beats it in every respect, and what is to be
    known of it besides.
    """

    name: str
    size: str
    median: str
    drop: str
    fate: str
    pareto: bool
    note: str


def list_trials(report: Report) -> list[TrialRow]:
    """The trials in the order they ran; none where nothing was searched."""
    return [
        TrialRow(
            text.clean(entry["name"]),
            text.format_size(entry["bytes"]),
            text.format_milliseconds(entry["median_ms"]),
            _format_drop(entry),
            text.clean(entry["verdict"]),
            bool(entry["pareto"]),
            text.clean(entry.get("note") or ""),
        )
        for entry in report.get("candidates") or []
    ]


def list_other_points(report: Report) -> list[str]:
    """What else could be had, at what cost, and the command that takes it: a line each."""
    command = (report.get("metadata") or {}).get("repeat with") or "onnxslim optimize IN -o OUT …"
    return [
        f"another point: {text.clean(point['name'])}, {text.clean(point['costs'])}: {text.clean(command)} {point['options']}"
        for point in report.get("other_points") or []
    ]


def _format_drop(entry: Report) -> str:
    drop = entry["tune_drop"]
    if drop is None:
        return text.NO_VALUE
    if entry["unit"] != "%":
        return text.format_digits(drop)
    return f"{text.format_signed(100 * drop)} points"
