"""What a metric lost, in words."""

from __future__ import annotations

from typing import Any

import pytest

from onnxslim.core.quantities import Units
from onnxslim.reporting.drops import can_be_asked_for, describe_doubt, describe_drop, describe_limit
from onnxslim.validation.metrics.accumulator import MetricResult


def result(name: str, drop: float | None, **fields: Any) -> MetricResult:
    original = fields.pop("original", 0.9)
    return MetricResult(name, original, 0.5, drop, **fields)


@pytest.mark.parametrize(
    ("metric", "said", "allowed"),
    [
        (result("top1", 0.021, share=True), "loses 2.1 points of Top-1", "at most 1.0 point allowed"),
        (result("top1", -0.01, share=True), "loses nothing of Top-1", "at most 1.0 point allowed"),
        (result("neighbors", 0.115, share=True, point=0.1), "loses 12 points of", "at most 10 points allowed"),
        (
            result("rmse", 1.5, original=50.0, higher_is_better=False, point=0.5),
            "would show a rise of 3.0 % in RMSE",
            "at most 1.0 % allowed",
        ),
        (result("made_up", 0.25), "loses 0.25 of made_up", "at most 0.010 allowed"),
        (result("made_up", 0.25, higher_is_better=False, note="31 dB"), "a rise of 0.25 in made_up (31 dB)", "allowed"),
        (result("rmse", 0.0, higher_is_better=False), "would show no rise in RMSE", "allowed"),
    ],
)
def test_a_score_loses_points_and_an_error_rises(metric: MetricResult, said: str, allowed: str) -> None:
    assert said in describe_drop(metric)
    assert allowed in describe_limit(metric, 0.01)


def test_without_an_original_nothing_is_claimed() -> None:
    assert "not held against the original" in describe_drop(result("top1", None))


def test_a_limit_in_the_metrics_own_unit_is_told_in_it_and_is_no_share() -> None:
    rmse = result("made_up", 3.0, higher_is_better=False, point=5.0)
    assert describe_limit(rmse, Units(2.5)) == "at most 2.5 allowed"
    assert describe_doubt(rmse, Units(2.5)) == "too near the 2.5 allowed for so few samples"
    assert not can_be_asked_for(Units(2.5))


@pytest.mark.parametrize(
    ("drop", "end", "said"),
    [
        (0.0, 0.037, "too near the 1.0 point allowed for 100 tune samples, about 360 would decide"),
        (0.005, 0.017, "too near the 1.0 point allowed for 100 tune samples, about 150 would decide"),
        (0.01, 0.02, "too near the 1.0 point allowed for so few samples"),
    ],
)
def test_a_doubt_says_how_many_samples_would_end_it(drop: float, end: float, said: str) -> None:
    metric = result("top1", drop, share=True, interval=(drop - 0.03, end), n=100)
    assert describe_doubt(metric, 0.01) == said


def test_a_limit_as_a_share_can_be_asked_for() -> None:
    assert can_be_asked_for(0.01)
