"""A metric of the user's: per sample or of the whole set, named where it misbehaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.evaluation import evaluate
from tests.support.judged import labelled, scores
from tests.support.node_graphs import two_outputs

RNG = np.random.default_rng(0)
EYE = np.eye(10)


def test_a_function_with_a_value_per_sample_is_streamed_and_paired(linear: Any) -> None:
    original, worse = linear(EYE), linear(EYE * 0.9)
    samples = labelled(original)

    def margin(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert len(outputs) <= 16
        return outputs[np.arange(len(outputs)), labels]

    metric = evaluate(worse, samples, reference=original, metric=margin, batch_size=16).metric
    assert metric.name == "margin"
    assert metric.result == pytest.approx(0.9 * metric.original, rel=1e-5)
    assert metric.interval[0] < metric.drop < metric.interval[1]


def test_a_function_of_one_value_gets_everything_at_once_and_a_jackknife_interval(linear: Any) -> None:
    original, worse = linear(EYE), linear(EYE + 0.5 * RNG.normal(size=(10, 10)))
    samples = labelled(original, noise=1.5)

    def auc(outputs: np.ndarray, labels: np.ndarray) -> float:
        if len(set(labels == 0)) < 2:
            raise ValueError("one batch may lack a class; all samples together do not")
        return float(roc_auc_score(labels == 0, outputs[:, 0]))

    metric = evaluate(worse, samples, reference=original, metric=auc, batch_size=1).metric
    assert metric.original == pytest.approx(roc_auc_score(samples.labels == 0, scores(samples, EYE)[:, 0]))
    assert metric.interval[0] < metric.drop < metric.interval[1]


def test_a_function_sees_all_outputs_of_a_model_that_has_several_unless_one_is_named() -> None:
    model = two_outputs()
    samples = labelled(model)
    seen: list[type] = []

    def spy(outputs: Any, labels: np.ndarray) -> np.ndarray:
        seen.append(type(outputs))
        return np.ones(len(labels))

    evaluate(model, samples, reference=model, metric=spy)
    assert set(seen) == {dict}
    seen.clear()
    evaluate(model, samples, reference=model, metric=spy, output="scores")
    assert set(seen) == {np.ndarray}


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (lambda outputs, labels: np.zeros(3), UsageError, r"expected shape \(64,\) for 64 samples, or one value"),
        (lambda outputs, labels: 1 / 0, UsageError, "raised ZeroDivisionError"),
        (lambda outputs, labels: np.full(len(outputs), np.nan), InvalidDataError, "returned NaN"),
        (lambda outputs, labels: float("nan"), InvalidDataError, "returned NaN"),
        (lambda outputs: 1.0, UsageError, "raised TypeError"),
    ],
)
def test_a_function_that_misbehaves_is_named(linear: Any, function: Any, error: type, said: str) -> None:
    model = linear(EYE)
    with pytest.raises(error, match=said) as caught:
        evaluate(model, labelled(model), reference=model, metric=function)
    assert "<lambda>" in caught.value.message
