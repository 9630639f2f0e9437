"""Targets behind a flat part of an activation are sets."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.statistics.regression_rows import RegressionRows


def test_the_distance_to_a_flat_part_is_none() -> None:
    rows_ = RegressionRows(np.zeros((1, 3, 1)), np.array([[[-1.0], [2.0], [9.0]]]), 0.0, 6.0)
    np.testing.assert_array_equal(rows_.residual(np.array([[[-5.0], [1.0], [7.0]]])), [[[0.0], [1.0], [0.0]]])
    np.testing.assert_array_equal(rows_.residual(np.array([[[3.0], [2.5], [5.0]]])), [[[-3.0], [-0.5], [1.0]]])


@pytest.mark.parametrize(("low", "high"), [(-np.inf, np.inf), (0.0, np.inf), (-0.5, 0.7)])
@pytest.mark.parametrize("count", [3, 4096, 5000])
def test_what_is_streamed_is_what_all_rows_at_once_give(low: float, high: float, count: int) -> None:
    rng = np.random.default_rng(count)
    x, y, weight = rng.normal(size=(2, count, 3)) + 5.0, rng.normal(size=(2, count, 4)), rng.normal(size=(2, 4, 4))
    rows = RegressionRows(x, y, low, high)
    output = x @ weight[..., :-1].transpose(0, 2, 1) + weight[:, None, :, -1]
    residual = np.clip(y, low, high) - output
    is_as_good = (y <= low) & (output <= low) | (y >= high) & (output >= high)
    residual = np.where(is_as_good, 0.0, residual)
    error, cross = rows.residual_moments(weight)
    with_ones = np.concatenate([x, np.ones((2, count, 1))], axis=2)
    np.testing.assert_allclose(error, np.square(residual).sum(), rtol=1e-9)
    np.testing.assert_allclose(rows.squared_error(weight), error, rtol=1e-12)
    np.testing.assert_allclose(cross, residual.transpose(0, 2, 1) @ with_ones, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(rows.squared_errors(weight, points=True), np.square(y - output).sum(axis=1), rtol=1e-9)


def test_rows_may_be_overwritten_and_give_the_same() -> None:
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(1, 50, 3)), rng.normal(size=(1, 50, 2)), rng.normal(size=(1, 2, 4))
    expected = RegressionRows(x, y).predict(weight)
    np.testing.assert_array_equal(RegressionRows(x.copy(), y, overwrite_x=True).predict(weight), expected)


def test_rows_that_are_not_finite_go_with_their_samples() -> None:
    x, y = np.ones((1, 5, 2)), np.ones((1, 5, 1))
    x[0, 1], y[0, 4] = np.nan, np.inf
    assert RegressionRows(x, y, blocks=np.array([0, 0, 3, 3, 6])).blocks.tolist() == [0, 3, 3]
    assert RegressionRows(x, y).blocks.tolist() == [0, 1, 2]
