"""What few samples leave open counts, up to a point; what they could not clear of nothing is left to the confirm data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.pipeline.drop_bounds import bound_drop, find_least_drop, is_left_to_confirm
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.statistics import estimate_answer_error

LIMIT, Z95 = 0.01, 1.96


def make_splits(tune: int, confirm: int) -> DataSplits:
    samples = [cast(Any, range(count)) if count else None for count in (tune, confirm)]
    return DataSplits(None, *samples)


def make_count(changed: int, n: int) -> MetricResult:
    """``changed`` of ``n`` answers lost, with the error that counts of answers have."""
    losses = np.repeat([1.0, 0.0], [changed, n - changed])
    drop, error = changed / n, estimate_answer_error(losses)
    return MetricResult("top1", 1.0, 1 - drop, drop, (max(0.0, drop - Z95 * error), drop + Z95 * error), n, share=True)


@given(st.integers(2, 400), st.integers(0, 2000))
def test_only_what_tune_can_clear_of_nothing_is_left_to_samples_that_can(tune: int, confirm: int) -> None:
    unchanged = [make_count(0, tune)]
    left = is_left_to_confirm(unchanged, LIMIT, make_splits(tune, confirm))
    assert left <= (bound_drop(unchanged, LIMIT, many=True) > LIMIT)
    if left:
        assert bound_drop([make_count(0, confirm)], LIMIT, many=True) <= 1.2 * LIMIT, "confirm can prove it"
    if tune < 40 and confirm >= 100:
        assert left, "13 of 13 unchanged fail by their uncertainty alone"
    if confirm <= tune or tune >= 60:
        assert not left


@given(st.integers(1, 13))
def test_a_drop_that_was_seen_is_left_to_nobody(changed: int) -> None:
    assert not is_left_to_confirm([make_count(changed, 13)], LIMIT, make_splits(13, 100_000))


def test_a_drop_that_is_not_known_or_not_judged_is_left_to_nobody() -> None:
    unknown = MetricResult("top1", 0.9, None, None, None, 0)
    assert not is_left_to_confirm([unknown], LIMIT, make_splits(13, 1000))
    assert not is_left_to_confirm([], LIMIT, make_splits(13, 1000))
    assert not is_left_to_confirm([make_count(0, 13)], LIMIT, make_splits(13, 0))


def test_what_few_samples_leave_open_counts_for_half_of_the_limit_at_most_and_refuses_nothing() -> None:
    seen = MetricResult("top1", 0.9, 0.89, 0.01, (-0.02, 0.06), 40, share=True)
    assert bound_drop([seen], 0.01) == pytest.approx(0.015)
    assert find_least_drop([seen], 0.01) == 0.0
    proven = MetricResult("top1", 0.9, 0.87, 0.03, (0.02, 0.04), 4000, share=True)
    assert bound_drop([proven], 0.01) == pytest.approx(0.035, abs=5e-4)
    assert find_least_drop([proven], 0.01) == 0.02
    assert find_least_drop([MetricResult("top1", 0.9, None, None, None, 0)], 0.01) == math.inf


def test_a_guard_counts_by_what_was_seen_and_hides_nothing() -> None:
    """One changed answer of 52 is within a limit of two in a hundred, and no excuse for an expected drop in doubt."""
    guard = MetricResult("agreement", 1.0, 51 / 52, 1 / 52, (0.003, 0.1), 52, share=True, point=0.02, guards=True)
    sure = MetricResult("confidence", 0.9, 0.899, 0.001, (0.0, 0.002), 52, share=True)
    assert bound_drop([guard, sure], 0.01, many=True) == pytest.approx(1 / 104)
    doubtful = replace(sure, drop=0.009, interval=(0.0, 0.013))
    assert bound_drop([guard, doubtful], 0.01) > 0.01
    assert find_least_drop([guard, sure], 0.01) == pytest.approx(0.0015)
    assert bound_drop([replace(guard, drop=2 / 52), sure], 0.01) > 0.01
