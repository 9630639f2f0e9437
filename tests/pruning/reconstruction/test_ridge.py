"""Damped normal equations against the same as an ordinary least squares of more rows."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.reconstruction.ridge import Ridge
from onnxslim.pruning.statistics.second_moments import SecondMoments


def collect(x: np.ndarray, y: np.ndarray) -> SecondMoments:
    moments = SecondMoments(x.shape[0], x.shape[2], y.shape[2])
    moments.add(x.astype(np.float32), y.astype(np.float32))
    return moments


def solve_by_rows(x: np.ndarray, y: np.ndarray, initial: np.ndarray, damping: float, has_bias: bool) -> np.ndarray:
    """One group: rows √λ, one a column but the bias, ask for the weights that came in."""
    ones = np.ones((len(x), 1)) if has_bias else np.zeros((len(x), 1))
    columns = np.concatenate([x, ones], axis=1)
    scale = np.mean(np.square(x).sum(axis=0))
    pull = np.sqrt(damping * scale) * np.eye(x.shape[1] + 1)
    pull[-1, -1] = np.sqrt(1e-12 * len(x))
    a, b = np.concatenate([columns, pull]), np.concatenate([y, pull @ initial.T])
    return np.linalg.lstsq(a, b, rcond=None)[0].T


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_the_solution_is_that_of_least_squares_with_a_row_more_for_each_column(
    groups: int, has_bias: bool, damping: float
) -> None:
    rng = np.random.default_rng(groups)
    x, y = rng.normal(size=(groups, 60, 5)), rng.normal(size=(groups, 60, 4))
    initial = rng.normal(size=(groups, 4, 6))
    initial[..., -1] *= has_bias
    rows = collect(x, y)
    found = Ridge(rows, damping, has_bias).solve(rows.yx, initial)
    for group in range(groups):
        expected = solve_by_rows(x[group], y[group], initial[group], damping, has_bias)
        np.testing.assert_allclose(found[group], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_damping_without_end_gives_back_the_weights_that_came_in_and_columns_without_rows_keep_theirs(groups: int) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(groups, 40, 3)), rng.normal(size=(groups, 40, 2))
    x[..., 1] = 0.0
    initial = rng.normal(size=(groups, 2, 4))
    rows = collect(x, y)
    strong = Ridge(rows, 1e12).solve(rows.yx, initial)
    np.testing.assert_allclose(strong[..., :-1], initial[..., :-1], atol=1e-6)
    weak = Ridge(collect(x, y), 1e-3).solve(rows.yx, initial)
    np.testing.assert_allclose(weak[..., 1], initial[..., 1], atol=1e-6)
