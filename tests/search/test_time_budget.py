"""What of a budget is left for the confirmation."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.search import time_budget
from onnxslim.search.candidate import Candidate
from onnxslim.search.time_budget import choose_step_seconds, find_confirm_deadline, reserve_confirm_seconds
from onnxslim.search.trial import Trial


def sets(tune: int, confirm: int) -> DataSplits:
    return DataSplits(tune=cast(Any, range(tune)), confirm=cast(Any, range(confirm)))


def trial(judging: float) -> Trial:
    return Trial(Candidate(), cast(Any, None), evaluation_seconds=judging)


@pytest.mark.parametrize(
    ("judging", "left"),
    [(0.1, 10.0), (0.4, 14.4), (5.0, 25.0)],
    ids=["a tenth is enough", "what three finalists will take", "at most a quarter"],
)
def test_as_much_is_left_as_finalists_will_take(judging: float, left: float) -> None:
    trials = [trial(judging / 2), trial(judging)]
    assert reserve_confirm_seconds(sets(50, 600), trials, 100.0) == pytest.approx(left)


def test_without_a_trial_or_a_set_to_go_by_a_tenth_is_left() -> None:
    assert reserve_confirm_seconds(sets(50, 600), [], 100.0) == pytest.approx(10.0)
    assert reserve_confirm_seconds(DataSplits(), [trial(5.0)], 100.0) == pytest.approx(10.0)


def test_int8_has_a_third_of_what_is_left_however_long_judging_seemed_to_take() -> None:
    exact = Candidate(scheme=None)
    slow = Trial(exact, cast(Any, None), timing_seconds=8.0, evaluation_seconds=8.0)
    assert choose_step_seconds(Candidate(), [slow], 18.0, 60.0) == pytest.approx(6.0)
    slow.timing_seconds = slow.evaluation_seconds = 1.0
    assert choose_step_seconds(Candidate(), [slow], 20.0, 60.0) == pytest.approx(12.0)


@pytest.mark.parametrize("began_before", [0.0, 100.0, 1000.0])
def test_who_goes_on_for_one_that_died_has_time_to_confirm_what_was_found(
    began_before: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    given = now - began_before, sets(50, 600), [trial(0.4)], 100.0
    assert find_confirm_deadline(*given) == pytest.approx(now - began_before + 105.0)
    monkeypatch.setattr(time_budget, "is_successor", lambda: True)
    assert find_confirm_deadline(*given) >= now + 14.4
    assert find_confirm_deadline(*given) >= now - began_before + 105.0
