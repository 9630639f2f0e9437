"""The steps of a run, as every form of the report tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.report import text
from onnxslim.report.figures import Report


@dataclass(frozen=True)
class Step:
    """One step: its name, what it changed in words, what it declined by reason, and how long it took."""

    name: str
    changed: str
    declined: list[tuple[str, list[str]]]
    seconds: float | None

    @property
    def left(self) -> int:
        """How many things it left alone."""
        return sum(len(nodes) for _, nodes in self.declined)


def list_steps(report: Report) -> list[Step]:
    """The steps in the order they ran."""
    return [
        Step(text.clean(step["name"]), _changed(step.get("changed")), _declined(step), step.get("seconds"))
        for step in report.get("steps") or []
    ]


def _changed(found: Any) -> str:
    if isinstance(found, Mapping):
        return ", ".join(_counts(text.clean(what).replace("_", " "), n) for what, n in found.items()) or "nothing"
    return "nothing" if not found else text.clean(found)


def _counts(what: str, n: Any) -> str:
    return f"{n} {what}" if isinstance(n, (int, float)) else f"{what} {text.clean(n)}"


def _declined(step: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for entry in step.get("declined") or []:
        reasons.setdefault(text.clean(entry["reason"]), []).append(text.clean(entry["node"]))
    return list(reasons.items())
