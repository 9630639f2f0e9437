"""Deleting columns against solving the least squares problem again without them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.pruning.statistics import obs
from onnxslim.pruning.statistics.obs import Quadratic, choose_damping, damped_inverse, delete_greedily


def problem(units: int, each: int, rows: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(weight, Gram matrix per row, columns of each unit) with correlated inputs and a constant last column."""
    rng = np.random.default_rng(seed)
    d = units * each + 1
    x = rng.normal(size=(6 * d, d)) @ rng.normal(size=(d, d))
    x[:, -1] = 1.0
    return rng.normal(size=(rows, d)), x.T @ x / len(x), np.arange(d - 1).reshape(units, each)


def quadratic(weight: np.ndarray, inverse: np.ndarray, columns: np.ndarray, scale: float = 1.0) -> Quadratic:
    """One group, with only the rows of the inverse that the units own."""
    rows = np.unique(columns)
    return Quadratic(weight[None].copy(), inverse[None, rows].copy(), rows, columns, scale)


def best_without(weight: np.ndarray, gram: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, float]:
    """The reference: minimise ½ tr((W' - W) H (W' - W)ᵀ) over W' with zeros at ``gone``, by solving anew."""
    keep = np.setdiff1d(np.arange(weight.shape[1]), gone)
    new = np.zeros_like(weight)
    new[:, keep] = np.linalg.solve(gram[np.ix_(keep, keep)], gram[keep] @ weight.T).T
    change = new - weight
    return new, 0.5 * float(np.trace(change @ gram @ change.T))


@settings(max_examples=20, deadline=None)
@given(units=st.integers(3, 6), each=st.integers(1, 4), seed=st.integers(0, 1000))
def test_cost_and_update_of_one_deletion_are_those_of_solving_anew(units: int, each: int, seed: int) -> None:
    weight, gram, columns = problem(units, each, seed=seed)
    layer = quadratic(weight, np.linalg.inv(gram), columns)
    costs = layer.costs(np.arange(units))
    for unit in range(units):
        expected, cost = best_without(weight, gram, columns[unit])
        assert costs[unit] == pytest.approx(cost, rel=1e-5)
        fresh = quadratic(weight, np.linalg.inv(gram), columns)
        fresh.delete(unit)
        np.testing.assert_allclose(fresh.weight[0], expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("order", [None, [5, 3, 8, 1, 0, 11, 2, 4, 6, 7, 9, 10]])
def test_several_at_a_time_end_where_solving_anew_ends(monkeypatch: pytest.MonkeyPatch, order: list[int] | None) -> None:
    monkeypatch.setattr(obs, "STEPS_TO_HALVE", 4)
    weight, gram, columns = problem(12, 2)
    layer = quadratic(weight, np.linalg.inv(gram), columns)
    seen: list[int] = []
    went, curve = delete_greedily([layer], 12, 9, order=order, pauses_at=(4, 9), visit=seen.append)
    assert seen == [4, 9]
    assert order is None or went == order[:9]
    for gone in (4, 9):
        assert curve[gone - 1] == pytest.approx(best_without(weight, gram, columns[went[:gone]].ravel())[1], rel=1e-5)
    expected, _ = best_without(weight, gram, columns[went].ravel())
    np.testing.assert_allclose(layer.weight[0], expected, rtol=1e-4, atol=1e-7)


def test_a_run_of_deletions_ends_where_solving_anew_ends() -> None:
    weight, gram, columns = problem(8, 3)
    layer = quadratic(weight, np.linalg.inv(gram), columns)
    order, curve = delete_greedily([layer], 8, 5)
    expected, cost = best_without(weight, gram, columns[order].ravel())
    assert curve[-1] == pytest.approx(cost, rel=1e-6)
    np.testing.assert_allclose(layer.weight[0], expected, rtol=1e-5, atol=1e-8)
    assert np.all(np.diff(curve) >= 0)


def test_of_two_equal_channels_only_one_is_free() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 4))
    x[:, 1] = x[:, 0]
    layer = quadratic(rng.normal(size=(2, 4)), damped_inverse(x.T @ x / 200, 1e-8), np.arange(4)[:, None])
    order, curve = delete_greedily([layer], 4, 2)
    assert order[0] in (0, 1)
    assert curve[0] < 1e-4 * curve[1]
    assert order[1] not in (0, 1) or curve[1] > 0.01


def test_a_unit_read_twice_costs_the_sum() -> None:
    weight, gram, columns = problem(4, 2)
    other, second, _ = problem(4, 2, seed=9)
    one = quadratic(weight, np.linalg.inv(gram), columns)
    two = quadratic(other, np.linalg.inv(second), columns, scale=3.0)
    expected = one.costs(np.arange(4)) + two.costs(np.arange(4))
    order, curve = delete_greedily([one, two], 4, 1)
    assert order == [int(np.argmin(expected))]
    assert curve[0] == pytest.approx(expected.min())


def test_groups_cost_and_change_as_the_layers_they_are() -> None:
    weight, gram, columns = problem(4, 2)
    other, second, _ = problem(4, 2, seed=9)
    rows = np.unique(columns)
    inverses = np.stack([np.linalg.inv(gram), np.linalg.inv(second)])
    both = Quadratic(np.stack([weight, other]), inverses[:, rows], rows, columns)
    alone = [quadratic(weight, inverses[0], columns), quadratic(other, inverses[1], columns)]
    order, curve = delete_greedily([both], 4, 2)
    expected_order, expected_curve = delete_greedily(alone, 4, 2)
    assert order == expected_order
    np.testing.assert_allclose(curve, expected_curve)
    np.testing.assert_allclose(both.weight, np.concatenate([layer.weight for layer in alone]), atol=1e-10)


def test_a_given_order_is_kept_and_shown_where_asked() -> None:
    weight, gram, columns = problem(5, 2)
    layer = quadratic(weight, np.linalg.inv(gram), columns)
    seen: dict[int, np.ndarray] = {}
    given, marks = [4, 0, 2, 1, 3], (2, 3)
    order, curve = delete_greedily(
        [layer], 5, 3, order=given, pauses_at=marks, visit=lambda n: seen.update({n: layer.weight.copy()})
    )
    assert order == [4, 0, 2]
    assert list(seen) == [2, 3]
    expected, cost = best_without(weight, gram, columns[[4, 0]].ravel())
    np.testing.assert_allclose(seen[2][0], expected, rtol=1e-5, atol=1e-8)
    assert curve[1] == pytest.approx(cost, rel=1e-6)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_the_inverse_exists_for_fewer_rows_than_columns(rows: int) -> None:
    x = np.random.default_rng(0).normal(size=(rows, 6))
    inverse = damped_inverse(x.T @ x, 0.0)
    assert np.isfinite(inverse).all()
    assert np.all(np.linalg.eigvalsh(inverse) > 0)


def test_a_channel_that_never_fires_goes_first_and_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 5))
    x[:, 3] = 0.0
    layer = quadratic(rng.normal(size=(2, 5)), damped_inverse(x.T @ x / 100, 1e-6), np.arange(5)[:, None])
    order, curve = delete_greedily([layer], 5, 1)
    assert order == [3]
    assert curve[0] < 1e-4


def test_few_rows_are_damped_more_than_many() -> None:
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(30, 30))
    grams = {n: (lambda x: x.T @ x / len(x))(rng.normal(size=(n, 30)) @ mix) for n in (20, 5000, 5001)}
    candidates = (1e-6, 1e-4, 1e-2, 1.0)
    few = choose_damping(grams[20], grams[5000], candidates)
    many = choose_damping(grams[5001], grams[5000], candidates)
    assert many < few
