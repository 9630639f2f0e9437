"""How a verification ends."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import GateError, InconclusiveError
from onnxslim.pipeline.result import Result
from onnxslim.verification.check import Check
from onnxslim.verification.outcome import check_speed, describe_verdict, make_error
from onnxslim.verification.sample_size import SamplePlan


@pytest.mark.parametrize(
    ("interval", "asked", "verdict"),
    [((1.1, 1.3), 1.05, "pass"), ((1.1, 1.3), 1.2, "cannot tell"), ((1.1, 1.3), 1.4, "fail"), ((0.5, 0.6), None, "pass")],
)
def test_the_whole_interval_of_the_speed_counts(interval: tuple[float, float], asked: float | None, verdict: str) -> None:
    (check,) = check_speed({"interval": interval, "ratio": sum(interval) / 2}, asked)
    assert check.verdict == verdict
    assert [check.verdict for check in check_speed(None, asked)] == ([] if asked is None else ["cannot tell"])


OPEN = Check("drop of top1", "cannot tell", "top1 drops by 0 %", 0.0, (-0.02, 0.02), 0.01)


def test_the_error_of_an_open_verdict_says_how_many_samples_would_decide() -> None:
    plan, result = SamplePlan(100, 900, 100, 100), Result("verify")
    error = make_error(InconclusiveError, [OPEN], plan, result)
    assert (error.exit_code, error.result) == (7, result)  # type: ignore[attr-defined]
    assert "for these two models about 400 samples" in (error.hint or "")
    # before the run the number is of any two models: it is larger, and the line says so
    assert "about 900 samples decide on a drop of 1 % between any two models" in plan.describe("1 %")
    beside = Check("speed", "cannot tell", "", 1.1, (1.0, 1.2), 1.1)
    assert "too near the limit" in (make_error(InconclusiveError, [beside], plan, result).hint or "")


def test_a_verdict_tells_what_decided_it() -> None:
    bad = Check("interface", "fail", "output y is missing")
    assert describe_verdict([OPEN, bad]) == "fail: interface: output y is missing"
    assert describe_verdict([OPEN]) == "cannot tell: drop of top1: top1 drops by 0 %"
    assert make_error(GateError, [bad], None, Result("verify")).exit_code == 5
