"""Drops of metrics with other units, counted in points of top-1."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Units
from onnxslim.validation.metrics.accumulator import MetricAccumulator, MetricResult
from onnxslim.validation.metrics.table import METRICS


@given(st.floats(-1, 1), st.floats(1e-3, 10))
def test_a_drop_of_one_point_is_one_of_top1(drop: float, point: float) -> None:
    assert MetricResult("m", 0.0, 0.0, drop).scaled_drop == drop
    assert MetricResult("m", 0.0, 0.0, point, point=point).scaled_drop == pytest.approx(0.01)
    measured = MetricResult("m", 0.0, 0.0, drop, (drop - 1, drop + 1), point=point)
    assert measured.get_drop_by(Units(0.5)) == drop
    assert measured.get_own_limit(0.01) == pytest.approx(point)
    assert measured.get_own_limit(Units(0.5)) == 0.5
    assert measured.scaled_interval is not None
    assert measured.scaled_interval[0] <= (measured.scaled_drop or 0.0) <= measured.scaled_interval[1]


def test_errors_in_the_unit_of_the_data_are_told_by_how_much_they_grow() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(200, 1)).astype(np.float32)
    original = labels + rng.normal(scale=0.1, size=labels.shape).astype(np.float32)
    found = []
    for unit in (1.0, 1000.0):
        accumulator = MetricAccumulator(METRICS["rmse"])
        accumulator.add(unit * (labels + 1.03 * (original - labels)), unit * original, unit * labels)
        found.append(accumulator.compute())
    for measured in found:
        assert measured.scaled_drop == pytest.approx(0.03, rel=1e-3)
        assert not measured.share


def test_where_the_original_makes_no_error_any_is_too_much() -> None:
    assert MetricResult("rmse", 0.0, 0.1, 0.1, point=0.0).scaled_drop == math.inf
    assert MetricResult("rmse", 0.0, 0.0, 0.0, point=0.0).scaled_drop == 0.0


@given(st.integers(2, 200))
def test_that_no_answer_changed_among_a_few_samples_does_not_prove_that_none_would(n: int) -> None:
    scores = np.random.default_rng(n).normal(0, 9, (n, 4)).astype(np.float32)
    accumulator = MetricAccumulator(METRICS["confidence"])
    accumulator.add(scores, scores, None)
    found = accumulator.compute()
    assert found.drop == 0
    assert found.interval is not None
    assert found.interval[0] == 0
    assert 0.5 / (n + 2) < found.interval[1] < 1.5 / n


@pytest.mark.parametrize("shapes", [((1, 2, 4, 4), (1, 3, 4, 4)), ((1, 0, 6), (1, 0, 6)), ((1, 3, 4, 4), (1, 3, 0, 4))])
def test_a_named_metric_that_cannot_read_all_samples_says_so(shapes: tuple[tuple[int, ...], ...]) -> None:
    """Lists that may be empty and raw heads of several grids look like maps of classes in their first sample."""
    tally = MetricAccumulator(METRICS["miou"])

    def add_all() -> None:
        for shape in shapes:
            maps = np.random.default_rng(0).normal(size=shape).astype(np.float32)
            tally.add(maps, maps, None)

    with pytest.raises(UsageError, match="metric miou"):
        add_all()


@pytest.mark.parametrize("name", ["kl", "mae"])
def test_an_error_of_nothing_is_no_share_of_a_few_samples(name: str) -> None:
    scores = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    accumulator = MetricAccumulator(METRICS[name])
    accumulator.add(scores, scores, scores if name == "mae" else None)
    found = accumulator.compute()
    assert (found.drop, found.interval) == (0, (0, 0))
