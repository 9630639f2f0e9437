"""What the figures prove is said in a sentence, and in time where there is any."""

from __future__ import annotations

from typing import Any

import pytest

from onnxslim.reporting.evidence import list_evidence
from onnxslim.reporting.html import render_html
from onnxslim.reporting.markdown import render_markdown
from tests.support.verified import verified

METRIC = {"name": "top1", "drop": 0.004, "provable": 0.0076, "n": 500, "unit": "%", "original": 0.9, "result": 0.896}


def report(**more: Any) -> dict[str, Any]:
    return {"metrics": [METRIC], "outputs": {}, **more}


def test_the_smallest_provable_drop_is_told() -> None:
    assert list_evidence(report()) == ["500 samples could prove that Top-1 drops by 0.76 points or more"]
    assert list_evidence({}) == []


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (500, "these samples do decide that it drops by no more than 1.00 points"),
        (1234, "about 1234 samples would decide whether it drops by more than 1.00 points; these do not"),
        (None, "no number of samples would decide whether it drops by more than 1.00 points: it sits on that"),
    ],
)
def test_whether_the_limit_is_decided_is_told(samples: int | None, said: str) -> None:
    assert list_evidence(report(decision={"limit": 0.01, "samples": samples}))[1] == said


def test_the_error_in_time_is_told_in_every_form() -> None:
    stretches = [{"first": 0, "last": 9, "sqnr_db": None}, {"first": 10, "last": 19, "sqnr_db": 20.04}]
    outputs = {"y<b>": {"sqnr_db": 23.0, "over_time": stretches}}
    found = report(outputs=outputs, warnings=[], steps=[], error=None)
    said = "SQNR of y<b> over time, by steps 0–9: equal, 10–19: 20.0 dB"
    assert said in list_evidence(found)
    assert "equal, 10–19&#58; 20.0 dB" in render_markdown(found)
    assert "y&lt;b&gt; over time" in render_html(found)


def test_every_check_of_a_verification_is_told() -> None:
    assert list_evidence(verified())[:3] == [
        "interface: pass: the same", "drop of top1: fail: top1 drops by 3 %", "speed: cannot tell: 1.1× as fast",
    ]  # fmt: skip
