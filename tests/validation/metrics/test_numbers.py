"""What is kept of numbers: against plain numpy, and against everything that could hide an error."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics import numbers
from onnxslim.validation.metrics.dataset_metrics import DeviationMetric, VarianceMetric
from tests.support.metric_values import judge, lost_points, metric_value

RNG = np.random.default_rng(0)


@given(st.integers(0, 2**20), st.integers(20, 60), st.integers(1, 5))
def test_both_are_what_numpy_says_of_the_worst_feature(seed: int, n: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, features)) * 10.0 ** rng.integers(-2, 4, features) + 10.0 ** rng.integers(0, 3)
    b = a + 0.05 * a.std(axis=0) * rng.normal(size=a.shape)
    variance = np.square(b - a).mean(axis=0) / (a.var(axis=0) * n / (n - 3))
    deviation = np.abs(b - a).mean(axis=0) / (a.std(axis=0) * np.sqrt(n / (n - 2.5)))
    assert judge("variance", b, a).drop == pytest.approx(variance.max(), rel=1e-6)
    assert judge("deviation", b, a).drop == pytest.approx(deviation.max(), rel=1e-6)


def test_neither_a_large_mean_nor_a_large_neighbor_hides_an_error() -> None:
    a = RNG.normal(size=(60, 2)) * [1000.0, 0.01] + [0.0, 300.0]
    b = a.copy()
    b[:, 1] = a[:, 1].mean()  # all that the second number says is gone, and that is 30 ppm of its size
    assert lost_points("variance", b, a) > 90
    assert lost_points("relative", b, a) < 0.1


@pytest.mark.parametrize("name", ["variance", "deviation"])
def test_an_offset_and_a_rescaling_are_errors(name: str) -> None:
    a = RNG.normal(size=(80, 3)) + 5
    for result in (a + 0.3 * a.std(axis=0), 5 + 1.3 * (a - 5), 1.1 * a):
        assert lost_points(name, result, a) > 4
    assert lost_points(name, 1000 * a + 1000 * 0.05 * RNG.normal(size=a.shape), 1000 * a) == pytest.approx(
        lost_points(name, a + 0.05 * RNG.normal(size=a.shape), a), rel=0.4
    ), "a change of the unit changes nothing"


def test_an_error_costs_the_same_in_every_unit() -> None:
    a = RNG.normal(size=(50, 4))
    b = a + 0.1 * RNG.normal(size=a.shape)
    scale, offset = np.array([1e-6, 1.0, 1e6, 3.0]), np.array([0.0, 5e3, -1e9, 1.0])
    assert judge("variance", b * scale + offset, a * scale + offset).drop == pytest.approx(
        judge("variance", b, a).drop, rel=1e-3
    )


def test_a_place_of_a_wave_that_hardly_varies_is_held_against_those_beside_it() -> None:
    a = RNG.normal(size=(40, 100))
    a[:, :10] *= 1e-4
    b = a + 0.02 * RNG.normal(size=a.shape)
    assert lost_points("variance", b, a) < 1, "of a hundred places ten are silent"
    assert lost_points("variance", b[:, :12], a[:, :12]) > 90, "of twelve numbers each is read by itself"


def test_outputs_whose_shape_varies_are_read_by_the_last_axis() -> None:
    rng = np.random.default_rng(3)
    whole = rng.normal(size=(90, 2)) * [1.0, 50.0] + [0.0, 1e4]
    noisy = whole + [0.1, 5.0] * rng.normal(size=whole.shape)
    tally = VarianceMetric()
    for start, stop in ((0, 5), (5, 10), (10, 22), (22, 60), (60, 90)):
        tally.add(noisy[None, start:stop], whole[None, start:stop], None, 1)
    expected = (np.square(noisy - whole).mean(axis=0) / whole.var(axis=0)).max()
    assert tally.compute().drop == pytest.approx(expected, rel=0.05)
    ragged = DeviationMetric()
    for length in (3, 4, 5, 6, 7, 8):
        ragged.add(np.ones((1, length)), rng.normal(size=(1, length)), None, 1)
    assert ragged.compute().drop == 1.0


@pytest.mark.parametrize("what", ["variance", "deviation"])
@pytest.mark.parametrize(
    "shapes", [[(2, 4), (3, 4), (2, 5)], [(2, 4), (3, 4), (4,), ()], [(0, 4), (3, 4), (2, 5)], [(2, 0), (3, 0), (3, 1)]]
)
def test_where_the_last_axis_varies_too_all_numbers_are_one_feature_in_any_order(
    what: Literal["variance", "deviation"], shapes: list[tuple[int, ...]]
) -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(3.0, size=shape) for shape in shapes]
    noisy = [sample + 0.1 * rng.normal(size=sample.shape) for sample in samples]
    losses = []
    for order in itertools.permutations(range(len(shapes))):
        sums = numbers.NumberSums()
        for index in order:
            sums.add(noisy[index][None], samples[index][None])
        losses.append(sums.measure(what))
    assert np.isfinite(losses).all()
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)


def test_large_samples_are_summed_by_neighbors(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.repeat(RNG.normal(size=(40, 50)), 4, axis=1)
    b = a + 0.1 * RNG.normal(size=a.shape)
    whole = judge("variance", b, a).drop
    monkeypatch.setattr(numbers, "MAX_FEATURES", 50)
    assert judge("variance", b, a).drop == pytest.approx(whole, rel=0.1)
    assert lost_points("variance", np.zeros_like(a), a) > 90


def test_a_list_of_what_was_found_may_begin_with_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = [100 + rng.normal(size=(count, 4)) for count in (0, 3, 5, 2, 4, 6, 0)]

    def measure(order: list[np.ndarray]) -> float:
        sums = numbers.NumberSums()
        for row in order:
            sums.add((row + 0.1)[None], row[None])
        return sums.measure("deviation")

    assert 0 < measure(rows) < 0.5
    assert measure(rows) == pytest.approx(measure(rows[::-1])) == pytest.approx(measure([*rows[1:], rows[0]]))


@pytest.mark.parametrize("what", ["variance", "deviation"])
@pytest.mark.parametrize("order", [(0, 3, 5, 2), (3, 0, 5, 2), (3, 5, 0, 2)])
def test_finding_another_number_loses_the_sample_also_where_there_was_nothing_to_find(what, order) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(count, 4)) for count in order]
    for wrong in range(len(rows)):
        for found in (1, 4):
            sums = numbers.NumberSums()
            for place, row in enumerate(rows):
                sums.add((rng.normal(size=(found, 4)) if place == wrong else row)[None], row[None])
            assert sums.measure(what) == pytest.approx(1 / len(rows))
    sums = numbers.NumberSums()
    for _ in range(3):  # a model that finds where there is never anything
        sums.add(np.ones((2, 5, 4)), np.zeros((2, 0, 4)))
    assert sums.measure(what) == 1.0


def test_a_sample_that_is_not_finite_or_of_another_shape_is_lost_whole() -> None:
    a = RNG.normal(size=(50, 3))
    b = a.copy()
    b[:5, 1] = np.nan
    b[5:10, 0] = np.inf
    assert judge("variance", b, a).drop == pytest.approx(0.2)
    both = a.copy()
    both[3, 2] = np.nan
    assert judge("variance", both, both).drop == 0, "the original says nothing there either"
    empty = np.zeros((4, 0))
    assert judge("variance", empty, empty).drop == 0
    shorter = VarianceMetric()
    shorter.add(a[:, :2], a, None, 50)
    assert shorter.compute().drop == 1.0


@pytest.mark.parametrize(
    ("original", "said"),
    [
        (np.full((20, 1), 7.0), "the same for all samples"),
        (np.full((20, 30), 0.1), "the same for all samples"),
        (RNG.normal(size=(2, 30)), "2 samples do not show"),
        (np.tile(RNG.normal(size=30), (20, 1)), "the same for all samples"),
    ],
)
def test_where_nothing_varies_it_is_said_what_errors_are_held_against(original: np.ndarray, said: str) -> None:
    result = judge("variance", original * 1.01, original)
    assert said in result.note
    assert result.drop is not None
    assert 0 < result.drop < 0.01
    assert lost_points("variance", np.zeros_like(original), original) > 20
    varied = RNG.normal(size=(20, 3))
    assert judge("variance", varied, varied).note == ""


@pytest.mark.parametrize("n", [3, 4, 5])
def test_of_few_samples_numbers_are_still_held_against_how_they_differ_not_against_their_size(n: int) -> None:
    a = 100 + np.arange(n)[:, None] * np.ones((1, 2))
    b = a + 0.5 * np.resize([1.0, -1.0], (n, 1))
    result = judge("deviation", b, a)
    assert result.drop == pytest.approx(0.5 / a.std(axis=0, ddof=1)[0])
    assert result.interval is not None
    assert result.interval[0] <= result.drop <= result.interval[1] < 2 * result.drop
    assert "hardly show" in result.note


def test_a_number_that_is_constant_beside_others_is_held_against_its_size() -> None:
    a = np.stack([RNG.normal(size=30), np.full(30, 40.0)], axis=1)
    assert lost_points("variance", a + np.array([0.0, 1.0]), a) < 0.1
    assert lost_points("variance", a * np.array([1.0, 0.0]), a) > 90


def test_it_asks_for_numbers_and_an_original() -> None:
    with pytest.raises(UsageError, match="needs a reference model"):
        VarianceMetric().add(np.ones((2, 2)), None, None, 2)
    with pytest.raises(UsageError, match="expected numbers"):
        VarianceMetric().add(np.array(["a"]), np.array(["a"]), None, 1)


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
