"""What metrics ask of labels."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError
from tests.support.metric_values import metric_value


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.array([0, 5]), "expected classes 0 to 2, got 0 to 5"),
        (np.array([0, -1]), "expected classes 0 to 2, got -1 to 0"),
        (np.array([0.5, 1.5]), "expects class numbers of shape (N,), got float64"),
        (np.array([[0, 1], [1, 0]]), "got int64 of shape (2, 2)"),
    ],
)
def test_labels_of_the_wrong_kind_are_named(labels: np.ndarray, said: str) -> None:
    with pytest.raises(InvalidDataError) as caught:
        metric_value("top1", np.zeros((2, 3), np.float32), labels=labels)
    assert said in caught.value.message
    assert "labels" in caught.value.message
