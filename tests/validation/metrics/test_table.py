"""What holds for every row of the table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.table import METRICS
from tests.support.metric_values import metric_value


@given(st.integers(1, 9), st.sampled_from(["top1", "agreement", "relative", "rmse", "miou"]))
def test_a_metric_does_not_depend_on_how_the_samples_are_batched(size: int, name: str) -> None:
    rng = np.random.default_rng(size)
    maps = name == "miou"
    a, b = rng.normal(size=(2, 9, 3, 2) if maps else (2, 9, 3))
    labels = rng.integers(0, 3, (9, 2) if maps else 9) if name != "rmse" else a + 0.1
    metric = METRICS[name]
    whole = metric.parts(b, a, labels)
    cuts = range(0, 9, size)
    parts = [metric.parts(b[i : i + size], a[i : i + size], labels[i : i + size]) for i in cuts]
    assert np.array_equal(np.concatenate(parts), whole)


def test_metrics_of_labels_ask_for_labels_and_metrics_of_maps_for_maps() -> None:
    for name in ("top1", "mae"):
        with pytest.raises(UsageError, match="have no labels"):
            metric_value(name, np.zeros((2, 3), np.float32))
    with pytest.raises(InvalidDataError, match="numbers of the output's shape"):
        metric_value("rmse", np.zeros((2, 3), np.float32), labels=np.zeros(2))
    for name, shape in itertools.product(("miou", "ctc"), ((2, 3), (2,))):
        with pytest.raises(UsageError, match="expected scores of shape"):
            metric_value(name, np.zeros(shape, np.float32))
    with pytest.raises(InvalidDataError, match="expected labels of shape"):
        metric_value("miou", np.zeros((2, 3, 4), np.float32), labels=np.zeros((2, 5), int))
