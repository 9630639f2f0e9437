"""Means and variances against numpy's, and where bringing them back would do harm."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.reconstruction.least_squares import fit_layer
from onnxslim.pruning.reconstruction.moment_matching import MAX_GAIN, correct_moments
from onnxslim.pruning.statistics.regression_rows import RegressionRows


def drawn(n: int, seed: int, gain: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, the targets of a layer, and the weight of one that gives them less a shift and a scale."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, n, 4)) + 1.0
    weight = np.random.default_rng(9).normal(size=(1, 3, 5))
    y = x @ weight[..., :-1].transpose(0, 2, 1) + weight[:, None, :, -1]
    return x, y * gain + shift, weight


def test_an_output_gets_the_mean_and_variance_of_its_targets() -> None:
    gain, shift = np.array([1.5, 1.0, 0.6]), np.array([2.0, 0.0, -1.0])
    x, y, weight = drawn(400, 0, gain, shift)
    held = RegressionRows(*drawn(200, 1, gain, shift)[:2])
    result, _, error, changed = correct_moments([RegressionRows(x, y), held], weight, {1: weight})
    out = RegressionRows(x, y).predict(result)
    np.testing.assert_allclose(out.mean(1), y.mean(1), atol=1e-9)
    np.testing.assert_allclose(out.std(1), y.std(1), rtol=1e-9)
    assert changed >= 2
    assert error < 1e-9


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (0.0, np.inf), (0.0, 1.0)])
def test_it_never_does_harm_to_rows_that_were_held_back(low: float, high: float) -> None:
    rng = np.random.default_rng(3)
    for seed in range(5):
        x, y, weight = drawn(300, seed, rng.uniform(0.3, 3, 3), rng.normal(size=3))
        y = y + rng.normal(size=y.shape)
        fitted, held = RegressionRows(x[:, :200], y[:, :200], low, high), RegressionRows(x[:, 200:], y[:, 200:], low, high)
        _, judged, error, _ = correct_moments([fitted, held], weight, {1: weight})
        assert held.squared_error(judged[1]) == pytest.approx(error)
        assert error <= held.squared_error(weight)


def test_a_scale_that_only_makes_up_for_noise_is_not_taken() -> None:
    x, y, _ = drawn(2000, 0, np.ones(3), np.zeros(3))
    noisy = y + np.random.default_rng(0).normal(size=y.shape, scale=3.0)
    rows = RegressionRows(x[:, :1500], noisy[:, :1500])
    result = fit_layer([RegressionRows(x[:, i::5], noisy[:, i::5]) for i in range(5)], np.zeros((1, 3, 5)))
    shrunk = rows.predict(result.weight).std(1) / noisy[:, :1500].std(1)
    assert (shrunk < 0.95).all()


def test_an_output_that_does_not_vary_keeps_its_scale() -> None:
    x = np.random.default_rng(0).normal(size=(1, 50, 3))
    y = np.full((1, 50, 1), 2.0)
    weight = np.array([[[0.0, 0.0, 0.0, 1.0]]])
    result, *_ = correct_moments([RegressionRows(x, y), RegressionRows(x, y)], weight, {0: weight})
    np.testing.assert_allclose(result[0], [[0.0, 0.0, 0.0, 2.0]])


def test_a_scale_stays_within_bounds() -> None:
    x, y, weight = drawn(300, 0, np.full(3, 10.0), np.zeros(3))
    result, *_ = correct_moments([RegressionRows(x, y), RegressionRows(x, y)], weight, {0: weight})
    np.testing.assert_allclose(result[..., :-1], MAX_GAIN * weight[..., :-1])


def test_without_a_place_for_a_bias_nothing_is_corrected() -> None:
    x, y, weight = drawn(300, 0, np.full(3, 1.5), np.full(3, 2.0))
    folds = [RegressionRows(x, y, has_bias=False), RegressionRows(x, y, has_bias=False)]
    result, _, _, changed = correct_moments(folds, weight, {0: weight})
    np.testing.assert_array_equal(result, weight)
    assert changed == 0


def test_rows_of_one_sample_are_no_proof() -> None:
    x, y, weight = drawn(400, 0, np.ones(3), np.zeros(3))
    y = y + np.repeat(np.random.default_rng(1).normal(size=(8, 3)), 50, axis=0)
    halves = x[:, :200], y[:, :200], x[:, 200:], y[:, 200:]
    alone = [RegressionRows(*halves[:2]), RegressionRows(*halves[2:])]
    samples = np.repeat(np.arange(4), 50)
    together = [RegressionRows(*halves[:2], blocks=samples), RegressionRows(*halves[2:], blocks=samples)]
    changed = [correct_moments(folds, weight, {0: weight, 1: weight})[3] for folds in (alone, together)]
    assert changed[0] > changed[1]
