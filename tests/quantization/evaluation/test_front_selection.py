"""Which point of a front is taken, and how many are built for it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.quantization.evaluation.front_selection import MAX_BUILDS, MAX_COST_LEFT, select_from_front


@given(st.lists(st.floats(0.3, 0.99), min_size=0, max_size=20), st.floats(0.01, 50), st.floats(0.3, 1.5))
def test_where_excess_falls_with_loss_the_chosen_is_good_enough_and_what_is_built_is_bounded(
    ratios: list[float], first: float, power: float
) -> None:
    losses = [1.0]
    for ratio in ratios:
        losses.append(losses[-1] * ratio)
    times = [1.0 + 0.1 * i for i in range(len(losses))]
    excesses = [first * loss**power for loss in losses]
    built: list[int] = []

    def measure(index: int) -> float:
        built.append(index)
        return excesses[index]

    found = select_from_front(losses, times, measure, {0: excesses[0]})
    assert len(built) + 1 <= MAX_BUILDS
    assert len(set(built)) == len(built)
    assert found.is_in_time
    if found.index is None:
        # the mildest was the last to be tried
        assert excesses[-1] > 1
    else:
        assert excesses[found.index] <= 1
        if len(built) + 1 < MAX_BUILDS:
            better = [
                i for i, excess in enumerate(excesses) if excess <= 1 and times[i] * MAX_COST_LEFT < times[found.index]
            ]
            assert not better


def test_a_front_of_one_point_is_that_point_or_none() -> None:
    assert select_from_front([1.0], [1.0], pytest.fail, {0: 0.5}).index == 0
    assert select_from_front([1.0], [1.0], pytest.fail, {0: 1.5}).index is None


def test_nothing_is_built_for_which_there_is_no_time() -> None:
    deadline = time.monotonic() + 10
    found = select_from_front([1.0, 0.1], [1.0, 2.0], pytest.fail, {0: 2.0}, seconds=60, deadline=deadline)
    assert found.index is None
    assert not found.is_in_time
    assert select_from_front([1.0, 0.1], [1.0, 2.0], lambda i: 0.5, {0: 2.0}, seconds=1, deadline=deadline).index == 1


def test_points_that_take_as_long_are_not_tried_for_nothing() -> None:
    found = select_from_front([1.0, 0.5, 0.1], [1.0, 1.99, 2.0], lambda i: 0.1, {0: 9.0, 2: 0.4})
    assert found.index == 2
    assert set(found.excesses) == {0, 2}
