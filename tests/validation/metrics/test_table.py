"""What holds for every row of the table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.table import METRICS
from tests.support.metric_values import CASES, MetricCase, judge, lost_points, metric_value


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


def name_case(case: MetricCase) -> str:
    return f"{case.name}-{case.draw.__name__.removeprefix('draw_')}"


each_case = pytest.mark.parametrize("case", CASES, ids=name_case)


def draw(case: MetricCase, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the original, and noise of standard deviation 1."""
    rng = np.random.default_rng(seed)
    original = case.draw(rng, n)
    return original, rng.normal(size=original.shape)


@each_case
def test_equal_outputs_lose_nothing(case: MetricCase) -> None:
    original, _ = draw(case, 40)
    for outputs in (original, original.astype(np.float32)):
        assert lost_points(case.name, outputs.copy(), outputs) == pytest.approx(0.0, abs=1e-6)


@each_case
def test_noise_that_grows_is_seen_and_costs_a_point_about_where_it_is_said_to(case: MetricCase) -> None:
    original, noise = draw(case, 200)
    sizes = np.array([0.01, 0.5, 1.0, 2.0, 5.0, 20.0]) * case.of_point
    lost = np.array([lost_points(case.name, original + size * noise, original) for size in sizes])
    assert lost[0] < 0.5
    assert 0.5 <= lost[2] <= 1.7
    assert (np.diff(lost) >= -0.05 * (1 + lost[1:])).all(), lost
    assert lost[-1] > 5


@each_case
@pytest.mark.parametrize("broken", ["zero", "mean", "one constant", "permuted", "not a number", "one row for all"])
def test_outputs_that_say_nothing_fail_by_far(case: MetricCase, broken: str) -> None:
    original, _ = draw(case, 120)
    result = {
        "zero": np.zeros_like(original),
        "mean": np.broadcast_to(original.mean(axis=0), original.shape),
        "one constant": np.full_like(original, 0.7),
        "permuted": np.roll(original, 7, axis=0),
        "not a number": np.full_like(original, np.nan),
        "one row for all": np.broadcast_to(original[:1], original.shape),
    }[broken]
    assert lost_points(case.name, result, original) > 5


@each_case
@given(batch=st.integers(1, 30), seed=st.integers(0, 3))
@settings(max_examples=8, deadline=None)
def test_batches_of_any_size_give_the_same(case: MetricCase, batch: int, seed: int) -> None:
    original, noise = draw(case, 24, seed)
    result = original + 3 * case.of_point * noise
    whole = judge(case.name, result, original, 24)
    cut = judge(case.name, result, original, batch)
    assert cut.drop == pytest.approx(whole.drop, rel=1e-9, abs=1e-12)
    assert cut.interval == pytest.approx(whole.interval, rel=1e-6, abs=1e-9)


@each_case
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_samples_are_judged_and_their_interval_never_excludes_what_was_seen(case: MetricCase, n: int) -> None:
    original, noise = draw(case, n)
    same, worse = judge(case.name, original.copy(), original), judge(case.name, original + 5 * noise, original)
    assert same.drop == pytest.approx(0.0, abs=1e-9)
    assert worse.drop is not None
    assert worse.drop > 0
    assert worse.n == n
    if worse.interval is not None:
        assert worse.interval[0] - 1e-12 <= worse.drop <= worse.interval[1] + 1e-12


@each_case
def test_the_interval_holds_what_many_samples_show(case: MetricCase) -> None:
    original, noise = draw(case, 1600, seed=5)
    result = original + 2 * case.of_point * noise
    if case.name in ("similarity", "neighbors"):  # which is a figure of a set of this size: others of it stand for many
        truth = np.mean([judge(case.name, result[i : i + 80], original[i : i + 80]).drop for i in range(0, 1600, 80)])
    else:
        truth = judge(case.name, result, original).drop
    seen = [judge(case.name, result[i : i + 80], original[i : i + 80]).interval for i in range(0, 1600, 80)]
    covered = sum(interval is not None and interval[0] <= truth <= interval[1] for interval in seen)
    assert covered >= 15, seen  # 19 of 20 are expected; fewer than 15 by chance once in 3 000 times
