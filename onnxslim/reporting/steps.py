"""The steps of a run, as every form of the report tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.reporting import text
from onnxslim.reporting.figures import Report


@dataclass(frozen=True)
class StepRow:
    """One step: its name, what it changed in words, what it skipped by reason, and how long it took."""

    name: str
    changed: str
    skipped: list[tuple[str, list[str]]]
    seconds: float | None

    @property
    def left(self) -> int:
        """How many things it left alone."""
        return sum(len(nodes) for _, nodes in self.skipped)


def list_steps(report: Report) -> list[StepRow]:
    """The steps in the order they ran."""
    return [
        StepRow(text.clean(step["name"]), _describe_changes(step.get("changed")), _group_skipped(step), step.get("seconds"))
        for step in report.get("steps") or []
    ]


def _describe_changes(changed: Any) -> str:
    if isinstance(changed, Mapping):
        return ", ".join(_format_count(text.clean(what).replace("_", " "), n) for what, n in changed.items()) or "nothing"
    return "nothing" if not changed else text.clean(changed)


def _format_count(what: str, n: Any) -> str:
    return f"{n} {what}" if isinstance(n, (int, float)) else f"{what} {text.clean(n)}"


def _group_skipped(step: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for entry in step.get("declined") or []:
        reasons.setdefault(text.clean(entry["reason"]), []).append(text.clean(entry["node"]))
    return list(reasons.items())
