"""Moments without a fold against those of the other rows."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.pruning.reconstruction.fold_moments import FoldMoments
from onnxslim.pruning.statistics.regression_rows import RegressionRows

COUNTS = (30, 0, 7, 20)


def drawn() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(2, n, 4)) + 100.0, rng.normal(size=(2, n, 3)) - 50.0) for n in COUNTS]


def test_without_a_fold_it_is_the_others() -> None:
    pairs = drawn()
    moments = FoldMoments([RegressionRows(x, y) for x, y in pairs])
    assert moments.judges == [0, 2, 3]
    for fold in moments.judges:
        x, y = (np.concatenate([pair[side] for i, pair in enumerate(pairs) if i != fold], axis=1) for side in (0, 1))
        expected, without = RegressionRows(x, y).moments(), moments.without(fold)
        assert without.count == x.shape[1]
        np.testing.assert_allclose(without.xx, expected.xx, rtol=1e-9)
        np.testing.assert_allclose(without.yx, expected.yx, rtol=1e-9)
        assert without.variance() == pytest.approx(expected.variance())
    assert moments.total.count == sum(COUNTS)


def test_of_wide_rows_the_last_fold_judges_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim.pruning.reconstruction.fold_moments.MAX_HELD_BYTES", 100)
    moments = FoldMoments([RegressionRows(x, y) for x, y in drawn()[:3]])
    assert moments.judges == [2]
    assert moments.without(2).count == 30
