"""Targets behind a flat part of an activation are sets."""

from __future__ import annotations

import numpy as np

from onnxslim.pruning.statistics.regression_rows import RegressionRows


def test_the_distance_to_a_flat_part_is_none() -> None:
    rows_ = RegressionRows(np.zeros((1, 3, 1)), np.array([[[-1.0], [2.0], [9.0]]]), 0.0, 6.0)
    np.testing.assert_array_equal(rows_.residual(np.array([[[-5.0], [1.0], [7.0]]])), [[[0.0], [1.0], [0.0]]])
    np.testing.assert_array_equal(rows_.residual(np.array([[[3.0], [2.5], [5.0]]])), [[[-3.0], [-0.5], [1.0]]])
