"""What a search tried, as every form of the report tells it."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim.report import text
from onnxslim.report.figures import Report

#: How it was measured, for people.
HOW = (
    "the drop is that of the tune share; a trial is on the front (◆) when no other is at least as small, as fast and as "
    "right, and better in one of these"
)


@dataclass(frozen=True)
class Tried:
    """One trial: its name, figures as text, what became of it, and whether no other beats it in every respect."""

    name: str
    size: str
    median: str
    drop: str
    fate: str
    pareto: bool


def list_trials(report: Report) -> list[Tried]:
    """The trials in the order they ran; none where nothing was searched."""
    return [
        Tried(
            text.clean(entry["name"]),
            text.size(entry["bytes"]),
            text.milliseconds(entry["median_ms"]),
            _drop(entry),
            _fate(entry, report.get("chosen")),
            bool(entry["pareto"]),
        )
        for entry in report.get("candidates") or []
    ]


def _drop(entry: Report) -> str:
    drop = entry["tune_drop"]
    if drop is None:
        return text.NONE
    return f"{text.signed(100 * drop)} points" if entry["unit"] == "%" else text.digits(drop)


def _fate(entry: Report, chosen: object) -> str:
    if entry["error"]:
        return f"failed: {text.clean(entry['error'])}"
    if entry["name"] == chosen:
        return "chosen"
    missed = "; ".join(text.clean(line) for line in entry["missed"])
    fate = "passed on the tune share" if entry["passes"] else missed or "lost too much"
    return f"{fate} ({text.clean(entry['note'])})" if entry.get("note") else fate
