"""The knapsack against trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.pruning.selection.knapsack import (
    PruningChoices,
    choose_uniform,
    interpolate_effects,
    list_amounts,
    solve_knapsack,
)


def problem(families: int, choices: int, seed: int) -> list[PruningChoices]:
    rng = np.random.default_rng(seed)

    def rising() -> np.ndarray:
        return np.concatenate([[0.0], np.cumsum(rng.random(choices - 1) + 0.01)])

    return [PruningChoices(np.arange(choices), rising(), rising()) for _ in range(families)]


def brute(found: list[PruningChoices], need: float, exclusive: list[tuple[int, list[int]]]) -> float | None:
    best = None
    for picked in itertools.product(*(range(len(f.amounts)) for f in found)):
        if any(picked[a] and any(picked[b] for b in others) for a, others in exclusive):
            continue
        if sum(f.savings[p] for f, p in zip(found, picked, strict=True)) >= need:
            effect = sum(float(f.effects[p]) for f, p in zip(found, picked, strict=True))
            best = effect if best is None else min(best, effect)
    return best


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    families=st.integers(1, 4),
    choices=st.integers(2, 4),
    share=st.floats(0.05, 1.2),
    blocks=st.booleans(),
)
def test_the_choice_is_the_best_of_all(seed: int, families: int, choices: int, share: float, blocks: bool) -> None:
    found = problem(families, choices, seed)
    need = share * sum(float(f.savings[-1]) for f in found)
    exclusive = [(0, list(range(1, families)))] if blocks and families > 1 else []
    expected = brute(found, need, exclusive)
    picked = solve_knapsack(found, need, exclusive)
    if expected is None:
        assert picked is None
        return
    assert picked is not None
    assert sum(float(f.savings[p]) for f, p in zip(found, picked, strict=True)) >= need - 1e-6
    assert sum(float(f.effects[p]) for f, p in zip(found, picked, strict=True)) == pytest.approx(expected, abs=1e-3)
    assert not any(picked[a] and any(picked[b] for b in others) for a, others in exclusive)


def test_nothing_goes_when_nothing_is_asked() -> None:
    assert solve_knapsack(problem(3, 4, 0), 0.0) == [0, 0, 0]
    assert solve_knapsack([], 0.0) == []
    assert solve_knapsack([], 1.0) is None


@settings(max_examples=50, deadline=None)
@given(units=st.integers(1, 300), round_to=st.sampled_from([1, 8, 16]))
def test_what_stays_is_a_multiple_or_everything(units: int, round_to: int) -> None:
    gone = list_amounts(units, round_to)
    assert gone[0] == 0
    assert len(gone) <= 64
    assert np.all(np.diff(gone) > 0)
    for kept in (units - gone[1:]).tolist():
        assert kept > 0
        assert kept % round_to == 0


def test_uniform_takes_the_same_share() -> None:
    found = [PruningChoices(np.arange(n), np.arange(n) * 1.0, np.arange(n) * 1.0) for n in (11, 21, 41)]
    assert choose_uniform(found, 0.5) == [5, 10, 20]


def test_effects_follow_the_error_between_measurements() -> None:
    error = np.array([1.0, 2.0, 4.0, 8.0])
    got = interpolate_effects(error, [(2, 0.2), (4, 1.4)], np.arange(5))
    np.testing.assert_allclose(got, [0.0, 0.1, 0.2, 0.6, 1.4], rtol=1e-6)


def test_effects_never_fall_and_survive_channels_that_cost_nothing() -> None:
    got = interpolate_effects(np.array([0.0, 0.0, 1.0]), [(1, 0.3), (2, 0.1), (3, 0.2)], np.arange(4))
    assert np.all(np.diff(got) >= 0)
    assert np.isfinite(got).all()


def test_effects_beyond_the_last_finite_one_are_infinite_and_those_before_it_stand() -> None:
    error = np.array([1.0, 2.0, 4.0, 8.0])
    got = interpolate_effects(error, [(2, 0.2), (4, np.inf)], np.arange(5))
    np.testing.assert_allclose(got, [0.0, 0.1, 0.2, np.inf, np.inf], rtol=1e-6)
    np.testing.assert_array_equal(interpolate_effects(error, [(1, np.inf)], np.arange(5)), [0.0, *[np.inf] * 4])
