"""What metrics of a whole set have in common."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.dataset_metric import DatasetMetric, require_original
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS


@pytest.mark.parametrize("name", ["variance", "deviation"])
def test_a_loss_becomes_a_drop_in_points_and_an_interval_around_it(name: str) -> None:
    metric: DatasetMetric = DATASET_METRICS[name]()
    result = metric.describe_loss(0.05, lambda group: 0.05 + 0.001 * (group % 3 - 1), 60, "a note")
    assert result.drop == 0.05
    assert result.scaled_drop == pytest.approx(0.05 * 0.01 / metric.point)
    assert (result.original, result.result) == ((1.0, 0.95) if metric.higher_is_better else (0.0, 0.05))
    assert result.interval is not None
    assert 0 <= result.interval[0] < 0.05 < result.interval[1]
    assert result.note == "a note"


def test_there_is_no_interval_of_one_sample_or_of_what_cannot_be_told() -> None:
    metric = DATASET_METRICS["variance"]()
    assert metric.describe_loss(0.1, lambda group: 0.1, 1).interval is None
    assert metric.describe_loss(0.1, lambda group: math.nan, 9).interval is None


def test_an_original_is_asked_for_where_it_is_the_measure() -> None:
    assert require_original("kl", np.ones(1)).shape == (1,)
    with pytest.raises(UsageError, match="metric kl needs a reference model"):
        require_original("kl", None)
