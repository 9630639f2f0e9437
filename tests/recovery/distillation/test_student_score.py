"""Which student is better, and when that is proven."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.recovery.distillation.student_score import StudentScore


def test_a_score_is_better_by_what_it_gets_right_and_by_its_error_where_that_may_be_chance() -> None:
    def some(right: int, of: int = 100) -> np.ndarray:
        return np.arange(of) < right

    assert StudentScore(0.2, some(90)).is_better_than(StudentScore(0.1, some(80)))
    assert not StudentScore(0.01, some(80)).is_better_than(StudentScore(0.1, some(90)))
    assert StudentScore(0.05, some(89)).is_better_than(StudentScore(0.1, some(90)))
    assert not StudentScore(0.1, some(90)).is_better_than(StudentScore(0.1, some(90)))
    assert StudentScore(0.2, some(70), some(90)).is_better_than(StudentScore(0.1, some(80), some(80)))
    assert not StudentScore(float("nan"), some(100)).is_better_than(StudentScore(0.1, some(50)))
    assert StudentScore(0.1).is_better_than(StudentScore(0.2))
    assert StudentScore(0.1, some(50)).as_json() == {"error": 0.1, "divergence": None, "agreement": 0.5, "top1": None}


def test_answers_that_come_back_count_for_more_than_the_squared_error_of_scores() -> None:
    def some(right: int) -> np.ndarray:
        return np.arange(100) < right

    repaired, learned = StudentScore(0.08, some(87), divergence=0.35), StudentScore(0.11, some(88), divergence=0.31)
    assert learned.is_better_than(repaired)
    assert not repaired.is_better_than(learned)
    assert not StudentScore(0.11, some(60), divergence=0.31).is_better_than(repaired)


@pytest.mark.parametrize("count", [7, 32, 200])
def test_what_is_another_and_no_better_is_seldom_proven_to_be(count: int) -> None:
    rng, looks, proven = np.random.default_rng(count), 5, 0
    for _ in range(600):
        losses = np.sort(rng.gamma(0.5, 0.2, (2, count)), 0)
        is_worse = rng.random((looks, count)) < 0.5
        before = StudentScore(0.1, losses=np.where(is_worse[0], *losses))
        learnt = [StudentScore(0.1, losses=np.where(worse, *losses[::-1])) for worse in is_worse]
        best = min(learnt, key=lambda score: float(score.losses.mean()) if score.losses is not None else 0.0)
        proven += best.is_proven_better_than(before, looks)
    assert proven / 600 < 0.08


def test_what_is_better_on_nearly_every_sample_is_proven_by_few() -> None:
    rng = np.random.default_rng(0)
    before = rng.gamma(0.5, 0.2, 16)
    after = before * np.exp(0.3 * rng.standard_normal(16) - 0.7)
    start, learnt = StudentScore(0.2, losses=before), StudentScore(0.1, losses=after)
    assert learnt.is_proven_better_than(start, 5)
    assert not start.is_proven_better_than(learnt)
    assert not StudentScore(0.1, losses=before).is_proven_better_than(start)
    assert not StudentScore(float("inf"), losses=after).is_proven_better_than(start)


def test_answers_that_go_forbid_what_losses_allow_and_answers_that_come_prove_it() -> None:
    few, many = np.arange(100) < 80, np.arange(100) < 90
    low, high = np.full(100, 0.1), np.full(100, 0.2)
    assert not StudentScore(0.1, few, losses=low).is_proven_better_than(StudentScore(0.2, many, losses=high))
    assert StudentScore(0.2, many, losses=high).is_proven_better_than(StudentScore(0.1, few, losses=low))
