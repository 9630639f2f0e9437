"""Repair against numpy's least squares, and where least squares alone would fail."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.reconstruction.fold_moments import FoldMoments
from onnxslim.pruning.reconstruction.least_squares import RIDGE_DAMPINGS, choose_dampings, fit_layer
from onnxslim.pruning.reconstruction.ridge import Ridge
from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.pruning.statistics.second_moments import SecondMoments


def moments(x: np.ndarray, y: np.ndarray) -> SecondMoments:
    total = SecondMoments(1, x.shape[1], y.shape[1])
    total.add(x[None], y[None])
    return total


def solve(sums: SecondMoments, start: np.ndarray, damping: float) -> np.ndarray:
    return Ridge(sums, damping).solve(sums.yx, start)


def rows(x: np.ndarray, y: np.ndarray) -> RegressionRows:
    return RegressionRows(x[None], y[None])


def folds(x: np.ndarray, y: np.ndarray) -> list[RegressionRows]:
    return [rows(x[fold::5], y[fold::5]) for fold in range(5)]


def layer(n: int, d: int, m: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 1.0
    return x, x @ rng.normal(size=(d, m)) + 3.0 + noise * rng.normal(size=(n, m))


def test_it_is_least_squares_with_a_bias() -> None:
    x, y = layer(400, 8, 3)
    expected, *_ = np.linalg.lstsq(np.hstack([x, np.ones((400, 1))]), y, rcond=None)
    np.testing.assert_allclose(solve(moments(x, y), np.zeros((1, 3, 9)), 1e-12)[0], expected.T, rtol=1e-6)


@pytest.mark.parametrize(("n", "noise"), [(400, 0.1), (40, 3.0), (25, 3.0)])
def test_the_damping_is_chosen_by_cross_validation(n: int, noise: float) -> None:
    x, y = layer(n, 8, 3, noise=noise)
    start = np.zeros((1, 3, 9))
    errors = np.zeros((len(RIDGE_DAMPINGS), 3))
    for number, damping in enumerate(RIDGE_DAMPINGS):
        for fold in range(5):
            left_out = np.arange(n) % 5 == fold
            weight = solve(moments(x[~left_out], y[~left_out]), start, damping)
            errors[number] += rows(x[left_out], y[left_out]).squared_errors(weight)[0]
    parts, best = FoldMoments(folds(x, y)), int(errors.sum(axis=1).argmin())
    choice = choose_dampings(parts, {fold: parts.without(fold).yx for fold in range(5)}, start, RIDGE_DAMPINGS)
    assert choice.common == RIDGE_DAMPINGS[best]
    looked_at = slice(max(best - 1, 0), best + 2)
    for output, damping in enumerate(choice.dampings[0]):
        chosen = errors[RIDGE_DAMPINGS.index(damping), output]
        assert chosen <= errors[looked_at, output].min() * (1 + 1e-9)
    result = fit_layer(folds(x, y), start)
    assert result.damping == choice.common
    assert result.error <= errors[best].sum() / np.sum((y - y.mean(0)) ** 2) * (1 + 1e-6)


def test_outputs_that_nothing_explains_keep_their_weights() -> None:
    x, y = layer(100, 8, 3)
    y[:, 1] = np.random.default_rng(1).normal(size=100) * 100
    start = np.zeros((1, 3, 9))
    start[..., -1] = y.mean(0)
    weight = fit_layer(folds(x, y), start).weight
    np.testing.assert_array_equal(weight[0, 1, :-1], 0.0)
    assert np.abs(weight[0, [0, 2], :-1]).max() > 0.1


def test_no_fold_has_seen_what_it_judges() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 20)), rng.normal(size=(30, 2))
    result = fit_layer(folds(x, y), np.zeros((1, 2, 21)))
    assert result.error >= 1.0
    np.testing.assert_array_equal(result.weight[..., :-1], 0.0)


def test_of_a_wide_layer_one_fold_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = layer(400, 8, 3)
    start = np.zeros((1, 3, 9))
    by_all = fit_layer(folds(x, y), start)
    monkeypatch.setattr("onnxslim.pruning.reconstruction.fold_moments.MAX_HELD_BYTES", 0)
    by_one = fit_layer(folds(x, y), start)
    assert list(by_all.fold_weights) == [0, 1, 2, 3, 4]
    assert list(by_one.fold_weights) == [4]
    np.testing.assert_allclose(by_one.weight, by_all.weight, atol=0.05)


def test_weights_that_no_fit_beats_are_kept() -> None:
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(20, 10)), rng.normal(size=(2, 11))
    noisy = x @ truth[:, :-1].T + truth[:, -1] + rng.normal(size=(20, 2))
    result = fit_layer(folds(x, noisy), truth[None])
    assert result.error <= result.error_before
    np.testing.assert_array_equal(result.weight[0], truth)


@pytest.mark.parametrize("few", [1, 4, 9])
def test_fewer_rows_than_columns_never_does_harm(few: int) -> None:
    x, y = layer(few + 1, 12, 2, seed=few)
    start = np.random.default_rng(1).normal(size=(1, 2, 13))
    result = fit_layer(folds(x, y), start)
    assert np.isfinite(result.weight).all()
    assert result.error <= result.error_before


def test_a_channel_that_never_fires_keeps_its_weight() -> None:
    x, y = layer(300, 6, 2)
    x[:, 4] = 0.0
    start = np.random.default_rng(2).normal(size=(1, 2, 7))
    result = fit_layer(folds(x, y), start)
    np.testing.assert_allclose(result.weight[..., 4], start[..., 4], rtol=1e-5)


def test_what_cannot_be_judged_is_not_fitted() -> None:
    x, y = layer(300, 4, 2)
    start = np.ones((1, 2, 5))
    np.testing.assert_array_equal(fit_layer([rows(x, y), rows(x[:0], y[:0])], start).weight, start)


def test_groups_are_fitted_as_the_layers_they_are() -> None:
    pairs = [layer(300, 4, 2, seed=seed) for seed in range(3)]
    together = SecondMoments(3, 4, 2)
    together.add(np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs]))
    got = solve(together, np.zeros((3, 2, 5)), 1e-3)
    alone = [solve(moments(x, y), np.zeros((1, 2, 5)), 1e-3) for x, y in pairs]
    np.testing.assert_allclose(got, np.concatenate(alone), rtol=1e-8)


@pytest.mark.parametrize(("low", "high"), [(0.0, np.inf), (0.0, 6.0), (-np.inf, 1.0)])
def test_behind_a_flat_activation_every_sweep_helps(low: float, high: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 2000, 10))
    y = x @ rng.normal(size=(10, 4)) * 2 + 0.5 * rng.normal(size=(1, 2000, 4)) ** 2
    x = x[..., :6]
    start = np.zeros((1, 4, 7))
    plain = fit_layer([RegressionRows(x[:, i::5], y[:, i::5]) for i in range(5)], start)
    aware = fit_layer([RegressionRows(x[:, i::5], y[:, i::5], low, high) for i in range(5)], start)

    judge = RegressionRows(x, y, low, high)
    assert judge.squared_error(aware.weight) < 0.9 * judge.squared_error(plain.weight)


def test_without_a_place_for_it_no_bias_is_fitted() -> None:
    x, y = layer(300, 5, 2)
    parts = [RegressionRows(x[None, i::5], y[None, i::5], has_bias=False) for i in range(5)]
    result = fit_layer(parts, np.zeros((1, 2, 6)))
    np.testing.assert_array_equal(result.weight[..., -1], 0.0)
    expected, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert result.error <= 1.1 * np.sum((y - x @ expected) ** 2) / np.sum((y - y.mean(0)) ** 2)
