"""How many samples a gate asks for, and what an interval says of the limit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.quantities import Units
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.verification.sample_size import (
    choose_pilot_size,
    count_samples_needed,
    judge_drop,
    judge_in_stages,
    plan_samples,
)


def metric(drop: float, half: float, n: int = 100, **more: object) -> MetricResult:
    """A metric whose drop has a symmetric interval."""
    return MetricResult("m", 1.0, 1.0 - drop, drop, (drop - half, drop + half), n, **more)


@pytest.mark.parametrize(
    ("drop", "half", "verdict"),
    [(0.0, 0.005, "pass"), (0.005, 0.005, "pass"), (0.015, 0.004, "fail"), (0.008, 0.005, "cannot tell"),
     (0.011, 0.005, "cannot tell"), (-0.02, 0.01, "pass")],
)  # fmt: skip
def test_the_whole_interval_must_lie_on_one_side(drop: float, half: float, verdict: str) -> None:
    assert judge_drop(metric(drop, half), 0.01).verdict == verdict


def test_a_drop_of_nothing_has_no_sign() -> None:
    assert "drops by 0 (" in judge_drop(metric(-0.0, 0.005), 0.01).message


def test_what_has_no_interval_cannot_be_told_and_what_is_no_number_fails() -> None:
    assert judge_drop(MetricResult("m", 1.0, 0.5, 0.5, None, 1), 0.01).verdict == "cannot tell"
    assert judge_drop(MetricResult("m", 1.0, 1.0, 0.0, (0.0, 0.0), 1), 0.01).verdict == "cannot tell"
    assert judge_drop(MetricResult("m", 1.0, math.nan, math.nan, None, 50), 0.01).verdict == "fail"


def test_a_limit_in_units_is_the_metrics_own() -> None:
    one = metric(0.5, 0.1, point=0.2)
    assert judge_drop(one, Units(0.7)).verdict == "pass"
    assert judge_drop(one, 0.01).verdict == "fail"  # a point is 0.2


@given(st.floats(0.001, 0.2), st.floats(1e-4, 0.3), st.integers(20, 5000))
def test_needs_fall_with_the_limit_grow_with_the_spread_and_never_go_below_the_pilot(
    limit: float, half: float, n: int
) -> None:
    def count(limit: float, half: float) -> int:
        needed = count_samples_needed(metric(0.0, half, n), limit)
        assert needed is not None
        return needed

    assert count(limit, half) >= n
    assert count(2 * limit, half) <= count(limit, half) <= count(limit, 2 * half)


def test_the_count_follows_the_square_of_the_interval() -> None:
    # half of a limit of 1 % is to be two half-widths away: 100 · (2 · 0.05 / 0.005)²
    assert count_samples_needed(metric(0.005, 0.05), 0.01) == 40_000


def test_a_plain_drop_needs_no_more_than_its_pilot() -> None:
    assert count_samples_needed(metric(0.5, 0.05), 0.01) == 100


@pytest.mark.parametrize("odd", [metric(0.0, math.inf), metric(math.nan, 0.1), MetricResult("m", 1.0, 1.0, 0.0, None, 5)])
def test_what_has_no_interval_has_no_number(odd: MetricResult) -> None:
    assert count_samples_needed(odd, 0.01) is None
    assert plan_samples([odd, metric(0.0, 0.1)], 100, 1000, 0.01).used == 1000


def test_a_limit_of_nothing_has_no_number_but_for_what_is_equal() -> None:
    assert count_samples_needed(metric(0.0, 0.01), 0.0) is None
    assert count_samples_needed(metric(0.0, 0.0), 0.0) == 100


@given(st.integers(1, 10**6), st.floats(0.0, 0.5))
def test_a_pilot_is_some_of_the_samples(total: int, limit: float) -> None:
    size = choose_pilot_size(total, limit)
    assert min(total, 128) <= size <= total


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(200, 20_000), st.sampled_from([0.0, 0.01, 0.02, 0.1]))
def test_stages_end_with_what_was_asked_for_or_with_all_there_is(seed: int, total: int, drop: float) -> None:
    differences = drop + np.random.default_rng(seed).normal(0, 0.1, total)
    sizes = []

    def measure(size: int) -> MetricResult:
        sizes.append(size)
        part = differences[:size]
        return metric(float(part.mean()), 1.96 * float(part.std()) / math.sqrt(size), size)

    plan, found = judge_in_stages(measure, lambda one: [one], total, 0.01)
    assert sizes == sorted(set(sizes))
    assert len(sizes) <= 3
    assert plan.used == sizes[-1] == found.n <= plan.given == total
    assert plan.pilot == sizes[0]


def test_a_guard_is_judged_by_what_was_seen() -> None:
    guard = MetricResult("agreement", 1.0, 0.985, 0.015, (0.006, 0.03), 300, share=True, point=0.02, guards=True)
    assert judge_drop(guard, 0.01).verdict == "pass"
    assert judge_drop(guard, 0.005).verdict == "cannot tell"  # of few samples one changed answer is more than is allowed
    assert judge_drop(guard, 0.002).verdict == "fail"
    assert judge_drop(replace(guard, guards=False), 0.01).verdict == "cannot tell"
