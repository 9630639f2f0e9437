"""Answers of classes against scikit-learn and plain readings of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.classification import get_predictions
from onnxslim.validation.metrics.table import METRICS
from tests.support.metric_values import metric_value

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_scikit_learns(k: int) -> None:
    scores, labels = RNG.normal(size=(200, 12)).astype(np.float32), RNG.integers(0, 12, 200)
    assert metric_value(f"top{k}", scores, labels=labels) == pytest.approx(
        sk.top_k_accuracy_score(labels, scores, k=k, labels=range(12))
    )


@given(hnp.arrays(np.float32, (6, 7), elements=st.sampled_from([0.0, 0.5, 1.0])), st.integers(0, 6))
def test_with_ties_top1_is_what_argmax_says(scores: np.ndarray, label: int) -> None:
    labels = np.full(6, label)
    assert metric_value("top1", scores, labels=labels) == np.mean(scores.argmax(axis=1) == labels)


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
    assert metric_value("top1", np.array([3, 1, 2]), labels=np.array([3, 1, 1])) == pytest.approx(2 / 3)
    assert metric_value("agreement", np.array(["cat", "dog"], object), np.array(["cat", "cat"], object)) == 0.5


def test_agreement_compares_the_answers_not_the_scores() -> None:
    a = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], np.float32)
    assert metric_value("agreement", a**3, a) == 1
    assert metric_value("agreement", 1 - a, a) == 0


def test_confidence_drops_by_what_top1_would_if_the_originals_probabilities_are_right() -> None:
    draw = np.random.default_rng(8)
    logits = 2 * draw.normal(size=(20_000, 5))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < draw.random((20_000, 1))).sum(axis=1)
    worse = logits + draw.normal(size=logits.shape)
    seen = metric_value("top1", logits, labels=labels) - metric_value("top1", worse, labels=labels)
    for scores in (logits, probabilities):
        expected = metric_value("confidence", scores, scores) - metric_value("confidence", worse, scores)
        assert expected == pytest.approx(seen, abs=0.01)
    with pytest.raises(UsageError, match="expected scores of shape"):
        metric_value("confidence", np.zeros((2, 3, 4)))


def test_answers_of_integers_are_the_integers() -> None:
    assert get_predictions(np.array([4, 2])).tolist() == [4, 2]


@given(st.integers(0, 2**20))
def test_f1_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((6, 4, 3)).astype(np.float32), rng.integers(0, 2, (6, 4, 3))
    expected = sk.f1_score(truth.ravel(), (scores >= 0.5).ravel(), zero_division=1.0)
    assert metric_value("f1", scores, labels=truth) == pytest.approx(expected)
    assert metric_value("f1", scores, original=scores) == 1.0
