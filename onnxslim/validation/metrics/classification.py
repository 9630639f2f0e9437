"""Classes: the answer that scores give, whether it is right, the original's, or one that the original believes in."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.metric import PartsFunction, as_column, check_class_labels


def is_scores(values: np.ndarray) -> bool:
    """Whether ``values`` are scores of at least two classes, shape (N, C): of one class, argmax would always agree."""
    return values.dtype.kind == "f" and values.ndim == 2 and values.shape[1] > 1


def get_predictions(outputs: np.ndarray) -> np.ndarray:
    """What a model says: the index of the highest score along axis 1, or an integer or string output as it is.

    A row that holds a NaN, or nothing, says nothing: its answer is -1, which equals no class.
    """
    if outputs.dtype.kind != "f":
        return outputs
    if not outputs.shape[1]:
        return np.full((len(outputs), *outputs.shape[2:]), -1)
    predicted = np.argmax(outputs, axis=1)
    return np.where(np.isnan(outputs).any(axis=1), -1, predicted)


def score_top(k: int) -> PartsFunction:
    def hits(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        truth = check_class_labels(f"top{k}", labels, outputs)
        if outputs.dtype.kind != "f":
            return as_column(outputs == truth)
        scores = outputs[np.arange(len(outputs)), truth][:, None]
        before = np.arange(outputs.shape[1]) < truth[:, None]
        # Ties go to the lower index, as they do in argmax, so that top-1 is what `answers` says.
        rank = ((outputs > scores) | ((outputs == scores) & before)).sum(axis=1)
        return as_column((rank < k) & ~np.isnan(outputs).any(axis=1))

    return hits


def score_agreement(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if outputs.shape != original.shape:
        return np.zeros((len(outputs), 1))
    predicted = get_predictions(outputs)
    same = (predicted == get_predictions(original)) & ((predicted != -1) | (outputs.dtype.kind != "f"))
    if outputs.dtype.kind == "f":  # where the original says nothing, the same nothing agrees with it
        says_nothing = np.isnan(original).any(axis=1) | (not original.shape[1])
        same |= says_nothing & (np.isnan(outputs) == np.isnan(original)).all(axis=1)
    answers = same.reshape(len(same), -1)
    # two lists of nothing are the same list
    return as_column(answers.mean(axis=1) if answers.shape[1] else np.ones(len(same)))


def score_confidence(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """The original's probability of the answer that ``outputs`` give.

    Its drop estimates the drop of top-1 without labels: an answer that changed between two classes the original held
    to be equally likely costs nothing on average, one it was sure of costs a whole sample. Scores that are not
    probabilities are taken for logits.
    """
    if not is_scores(outputs) or outputs.shape != original.shape:
        raise UsageError("metric confidence: expected scores of shape (N, C)", hint="name such an output with --output")
    scores = original.astype(np.float64)
    says_nothing = np.isnan(scores).any(axis=1)
    scores[says_nothing] = 0.0
    scores[says_nothing, 0] = 1.0
    if scores.min() < 0 or not np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    chosen = scores[np.arange(len(scores)), np.argmax(np.nan_to_num(outputs, nan=-np.inf), axis=1)]
    return as_column(np.where(says_nothing, (np.isnan(outputs) == np.isnan(original)).all(axis=1), chosen))
