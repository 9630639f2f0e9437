"""F1 against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.support.metric_values import metric_value


@given(st.integers(0, 2**20))
def test_f1_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((6, 4, 3)).astype(np.float32), rng.integers(0, 2, (6, 4, 3))
    expected = sk.f1_score(truth.ravel(), (scores >= 0.5).ravel(), zero_division=1.0)
    assert metric_value("f1", scores, labels=truth) == pytest.approx(expected)
    assert metric_value("f1", scores, original=scores) == 1.0
