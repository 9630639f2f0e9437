"""Errors of numbers against scikit-learn and norms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from tests.support.metric_values import metric_value

RNG = np.random.default_rng(0)


@given(hnp.arrays(np.float64, (5, 4), elements=st.floats(-10, 10, width=32)), st.floats(0, 0.5))
def test_relative_is_one_less_the_relative_norm_of_the_error(a: np.ndarray, size: float) -> None:
    b = a + size * np.roll(a, 1)
    expected = 1 - np.linalg.norm(a - b) / np.linalg.norm(a) if a.any() else 1.0
    assert metric_value("relative", b, a) == pytest.approx(expected, abs=1e-9)


def test_relative_of_nothing_is_perfect_only_when_nothing_came_out() -> None:
    zero = np.zeros((2, 3), np.float32)
    assert metric_value("relative", zero, zero) == 1
    assert metric_value("relative", zero + 1, zero) == -np.inf
    assert metric_value("relative", np.full((1, 2), np.nan), np.ones((1, 2))) == -np.inf


def test_relative_calls_outputs_of_another_shape_as_far_apart_as_things_that_share_nothing() -> None:
    assert metric_value("relative", np.ones((1, 2, 4)), np.ones((1, 3, 4))) == pytest.approx(1 - np.sqrt(20 / 12))


def test_regression_errors_are_scikit_learns() -> None:
    labels, outputs = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 3))
    assert metric_value("mae", outputs, labels=labels) == pytest.approx(sk.mean_absolute_error(labels, outputs))
    assert metric_value("rmse", outputs, labels=labels) == pytest.approx(np.sqrt(sk.mean_squared_error(labels, outputs)))
