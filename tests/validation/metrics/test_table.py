"""Each metric against an independent computation of it (scikit-learn, scipy, or a plain loop)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.table import METRICS, edit_distance, get_predictions

RNG = np.random.default_rng(0)


def value(name: str, outputs: np.ndarray, original: np.ndarray | None = None, labels: np.ndarray | None = None) -> float:
    metric = METRICS[name]
    parts = metric.parts(outputs, outputs if original is None else original, labels)
    assert parts.shape[0] == len(outputs)
    return float(metric.finish(parts.mean(axis=0, keepdims=True))[0])


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_scikit_learns(k: int) -> None:
    scores, labels = RNG.normal(size=(200, 12)).astype(np.float32), RNG.integers(0, 12, 200)
    assert value(f"top{k}", scores, labels=labels) == pytest.approx(
        sk.top_k_accuracy_score(labels, scores, k=k, labels=range(12))
    )


@given(hnp.arrays(np.float32, (6, 7), elements=st.sampled_from([0.0, 0.5, 1.0])), st.integers(0, 6))
def test_with_ties_top1_is_what_argmax_says(scores: np.ndarray, label: int) -> None:
    labels = np.full(6, label)
    assert value("top1", scores, labels=labels) == np.mean(scores.argmax(axis=1) == labels)


def test_a_row_with_nan_is_never_right_and_agrees_with_the_same_alone() -> None:
    scores = np.array([[0.1, np.nan, 0.2], [0.1, 0.9, 0.2]], np.float32)
    labels = np.array([1, 1])
    assert METRICS["top1"].parts(scores, scores, labels).ravel().tolist() == [0, 1]
    assert METRICS["top5"].parts(scores, scores, labels).ravel().tolist() == [0, 1]
    assert METRICS["agreement"].parts(np.nan_to_num(scores), scores, None).ravel().tolist() == [0, 1]
    assert METRICS["agreement"].parts(scores, np.nan_to_num(scores), None).ravel().tolist() == [0, 1]
    assert METRICS["agreement"].parts(scores, scores, None).ravel().tolist() == [1, 1], "the original says nothing either"
    assert METRICS["confidence"].parts(scores, scores, None)[0, 0] == 1
    assert METRICS["confidence"].parts(np.nan_to_num(scores), scores, None)[0, 0] == 0


def test_named_classes_are_right_where_they_equal_the_label() -> None:
    assert value("top1", np.array([3, 1, 2]), labels=np.array([3, 1, 1])) == pytest.approx(2 / 3)
    assert value("agreement", np.array(["cat", "dog"], object), np.array(["cat", "cat"], object)) == 0.5


def test_agreement_compares_the_answers_not_the_scores() -> None:
    a = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], np.float32)
    assert value("agreement", a**3, a) == 1
    assert value("agreement", 1 - a, a) == 0


def test_confidence_drops_by_what_top1_would_if_the_originals_probabilities_are_right() -> None:
    draw = np.random.default_rng(8)
    logits = 2 * draw.normal(size=(20_000, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < draw.random((20_000, 1))).sum(axis=1)
    worse = logits + draw.normal(size=logits.shape)
    seen = value("top1", logits, labels=labels) - value("top1", worse, labels=labels)
    for scores in (logits, probabilities):
        expected = value("confidence", scores, scores) - value("confidence", worse, scores)
        assert expected == pytest.approx(seen, abs=0.01)
    with pytest.raises(UsageError, match="expected scores of shape"):
        value("confidence", np.zeros((2, 3, 4)))


@given(hnp.arrays(np.float64, (5, 4), elements=st.floats(-10, 10, width=32)), st.floats(0, 0.5))
def test_relative_is_one_less_the_relative_norm_of_the_error(a: np.ndarray, size: float) -> None:
    b = a + size * np.roll(a, 1)
    expected = 1 - np.linalg.norm(a - b) / np.linalg.norm(a) if a.any() else 1.0
    assert value("relative", b, a) == pytest.approx(expected, abs=1e-9)


def test_relative_of_nothing_is_perfect_only_when_nothing_came_out() -> None:
    zero = np.zeros((2, 3), np.float32)
    assert value("relative", zero, zero) == 1
    assert value("relative", zero + 1, zero) == -np.inf
    assert value("relative", np.full((1, 2), np.nan), np.ones((1, 2))) == -np.inf


def test_relative_calls_outputs_of_another_shape_as_far_apart_as_things_that_share_nothing() -> None:
    assert value("relative", np.ones((1, 2, 4)), np.ones((1, 3, 4))) == pytest.approx(1 - np.sqrt(20 / 12))


def test_regression_errors_are_scikit_learns() -> None:
    labels, outputs = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 3))
    assert value("mae", outputs, labels=labels) == pytest.approx(sk.mean_absolute_error(labels, outputs))
    assert value("rmse", outputs, labels=labels) == pytest.approx(np.sqrt(sk.mean_squared_error(labels, outputs)))


def test_miou_is_the_jaccard_score_over_the_classes_that_occur() -> None:
    scores, labels = RNG.normal(size=(4, 5, 6, 7)).astype(np.float32), RNG.integers(0, 4, (4, 6, 7))
    scores[:, 4] = -9  # a class that neither names
    expected = sk.jaccard_score(labels.ravel(), scores.argmax(1).ravel(), average="macro")
    assert value("miou", scores, labels=labels) == pytest.approx(expected)


def test_of_a_single_map_miou_judges_what_is_above_a_half() -> None:
    scores = np.array([[[[0.9, 0.2], [0.7, 0.4]]]], np.float32)
    truth = np.array([[[1, 0], [0, 0]]])
    expected = sk.jaccard_score(truth.ravel(), [1, 0, 1, 0], average="macro")
    assert value("miou", scores, labels=truth) == pytest.approx(expected)


@given(st.integers(0, 2**20))
def test_f1_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((6, 4, 3)).astype(np.float32), rng.integers(0, 2, (6, 4, 3))
    expected = sk.f1_score(truth.ravel(), (scores >= 0.5).ravel(), zero_division=1.0)
    assert value("f1", scores, labels=truth) == pytest.approx(expected)
    assert value("f1", scores, original=scores) == 1.0


def test_miou_leaves_out_pixels_whose_label_is_no_class() -> None:
    scores = np.zeros((1, 2, 1, 2), np.float32)
    assert value("miou", scores, labels=np.array([[[0, 255]]])) == 1


def plain_edit_distance(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        plain_edit_distance(a[1:], b) + 1,
        plain_edit_distance(a, b[1:]) + 1,
        plain_edit_distance(a[1:], b[1:]) + (a[0] != b[0]),
    )


@given(st.lists(st.integers(1, 3), max_size=5), st.lists(st.integers(1, 3), max_size=5))
def test_edit_distance_is_levenshteins(a: list[int], b: list[int]) -> None:
    assert edit_distance(np.array(a, int), np.array(b, int)) == plain_edit_distance(a, b)


def test_ctc_merges_repeats_before_it_drops_blanks() -> None:
    path = np.eye(4, dtype=np.float32)[[[1, 1, 0, 1, 2, 2]]]  # 1 1 _ 1 2 2 reads 1 1 2
    assert value("ctc", path, labels=np.array([[1, 1, 2]])) == 1
    assert value("ctc", path, labels=np.array([[1, 2, 3]])) == pytest.approx(1 - 2 / 3)
    assert value("ctc", path, labels=np.array([[1, 1, 2, 3]])) == pytest.approx(1 - 1 / 4)


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


def test_answers_of_integers_are_the_integers() -> None:
    assert get_predictions(np.array([4, 2])).tolist() == [4, 2]


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
        value("top1", np.zeros((2, 3), np.float32), labels=labels)
    assert said in caught.value.message
    assert "labels" in caught.value.message


def test_metrics_of_labels_ask_for_labels_and_metrics_of_maps_for_maps() -> None:
    for name in ("top1", "mae"):
        with pytest.raises(UsageError, match="have no labels"):
            value(name, np.zeros((2, 3), np.float32))
    with pytest.raises(InvalidDataError, match="numbers of the output's shape"):
        value("rmse", np.zeros((2, 3), np.float32), labels=np.zeros(2))
    for name, shape in itertools.product(("miou", "ctc"), ((2, 3), (2,))):
        with pytest.raises(UsageError, match="expected scores of shape"):
            value(name, np.zeros(shape, np.float32))
    with pytest.raises(InvalidDataError, match="expected labels of shape"):
        value("miou", np.zeros((2, 3, 4), np.float32), labels=np.zeros((2, 5), int))
