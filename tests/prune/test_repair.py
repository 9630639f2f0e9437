"""Repair against numpy's least squares, and where least squares alone would fail."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.prune.gram import Moments
from onnxslim.prune.repair import DAMPINGS, fit, match_variance, solve


def moments(x: np.ndarray, y: np.ndarray) -> Moments:
    total = Moments(1, x.shape[1], y.shape[1])
    total.add(x[None], y[None])
    return total


def layer(n: int, d: int, m: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 1.0
    return x, x @ rng.normal(size=(d, m)) + 3.0 + noise * rng.normal(size=(n, m))


def test_it_is_least_squares_with_a_bias() -> None:
    x, y = layer(400, 8, 3)
    expected, *_ = np.linalg.lstsq(np.hstack([x, np.ones((400, 1))]), y, rcond=None)
    np.testing.assert_allclose(solve(moments(x, y), np.zeros((1, 3, 9)), 1e-12)[0], expected.T, rtol=1e-6)


def test_the_damping_is_chosen_on_held_back_rows() -> None:
    x, y = layer(400, 8, 3)
    rows, held = moments(x[:300], y[:300]), moments(x[300:], y[300:])
    start = np.zeros((1, 3, 9))
    result = fit(rows, held, start)
    errors = {damping: held.error(solve(rows, start, damping)).sum() for damping in DAMPINGS}
    assert result.damping == min(errors, key=errors.__getitem__)
    assert result.error < 0.01 < result.before


def test_weights_that_no_fit_beats_are_kept() -> None:
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(20, 10)), rng.normal(size=(2, 11))
    held = rng.normal(size=(500, 10))
    clean = held @ truth[:, :-1].T + truth[:, -1]
    noisy = x @ truth[:, :-1].T + truth[:, -1] + rng.normal(size=(20, 2))
    result = fit(moments(x, noisy), moments(held, clean), truth[None])
    assert result.error <= result.before
    np.testing.assert_array_equal(result.weight[0], truth)


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_fewer_rows_than_columns_never_does_harm(rows: int) -> None:
    x, y = layer(200, 12, 2, seed=rows)
    start = np.random.default_rng(1).normal(size=(1, 2, 13))
    held = moments(x[100:], y[100:])
    result = fit(moments(x[:rows], y[:rows]), held, start)
    assert np.isfinite(result.weight).all()
    assert result.error <= result.before


def test_a_channel_that_never_fires_keeps_its_weight() -> None:
    x, y = layer(300, 6, 2)
    x[:, 4] = 0.0
    start = np.random.default_rng(2).normal(size=(1, 2, 7))
    result = fit(moments(x[:200], y[:200]), moments(x[200:], y[200:]), start)
    np.testing.assert_allclose(result.weight[..., 4], start[..., 4], rtol=1e-5)


def test_no_held_back_rows_means_the_stronger_of_equal_dampings() -> None:
    x, y = layer(300, 6, 2, noise=1.0)
    result = fit(moments(x, y), Moments(1, 6, 2), np.zeros((1, 2, 7)))
    assert result.damping > 1e-6
    assert result.error < result.before


def test_no_rows_at_all_leaves_the_weights() -> None:
    start = np.ones((1, 2, 5))
    np.testing.assert_array_equal(fit(Moments(1, 4, 2), Moments(1, 4, 2), start).weight, start)


def test_mean_and_variance_become_the_targets() -> None:
    x, y = layer(500, 6, 3, noise=4.0)
    rows = moments(x, y)
    weight = match_variance(rows, fit(rows, Moments(1, 6, 3), np.zeros((1, 3, 7))).weight)[0]
    out = x @ weight[:, :-1].T + weight[:, -1]
    np.testing.assert_allclose(out.mean(0), y.mean(0), rtol=1e-6)
    np.testing.assert_allclose(out.std(0), y.std(0), rtol=1e-6)


def test_an_output_that_does_not_vary_is_left_in_scale() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    y = np.full((50, 1), 2.0)
    weight = match_variance(moments(x, y), np.array([[[0.0, 0.0, 0.0, 2.0]]]))
    np.testing.assert_allclose(weight[0], [[0.0, 0.0, 0.0, 2.0]])


def test_groups_are_fitted_as_the_layers_they_are() -> None:
    pairs = [layer(300, 4, 2, seed=seed) for seed in range(3)]
    together = Moments(3, 4, 2)
    together.add(np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs]))
    got = solve(together, np.zeros((3, 2, 5)), 1e-3)
    alone = [solve(moments(x, y), np.zeros((1, 2, 5)), 1e-3) for x, y in pairs]
    np.testing.assert_allclose(got, np.concatenate(alone), rtol=1e-8)
