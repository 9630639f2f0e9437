"""One thing that was asked of a candidate, what was found, and what several such findings come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxslim.validation.statistics import Interval

Verdict = Literal["pass", "fail", "cannot tell"]


@dataclass(frozen=True)
class Check:
    """One thing that was asked.

    Attributes:
        name: What was asked, in a word: ``interface``, ``drop of top1``.
        verdict: ``cannot tell`` where the data, or the rounds that were timed, leave both possible.
        message: What was found, in a line, with the figures.
        value: The figure that decides, where there is one.
        interval: Its 95 % interval.
        limit: What it is held against, in the same unit.
        model: Of a folder: the path of the model that it was asked of.
    """

    name: str
    verdict: Verdict
    message: str
    value: float | None = None
    interval: Interval | None = None
    limit: float | None = None
    model: str | None = None

    @property
    def title(self) -> str:
        """The name, behind that of the model of a folder."""
        return self.name if self.model is None else f"{self.model}: {self.name}"


def conclude(checks: Sequence[Check]) -> Verdict:
    """What ``checks`` come to: one that fails decides, then one that cannot tell."""
    verdicts = {check.verdict for check in checks}
    return "fail" if "fail" in verdicts else "cannot tell" if "cannot tell" in verdicts else "pass"
