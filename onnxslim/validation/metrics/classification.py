"""Classes: the answer that scores give, whether it is right, the original's, or one that the original believes in; and
independent probabilities (tags, notes, voice), cut at a half.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.metric import PartsFunction, as_column, check_class_labels, flatten_samples

#: Less than this is not told apart from nothing.
MIN_PROBABILITY = 1e-9
#: Numbers that are computed with at a time.
MAX_ELEMENTS = 1 << 20


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
    """Whether the label is among the ``k`` highest scores, shape (n, 1)."""

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
    """The share of a sample's answers that are the original's, shape (n, 1)."""
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
    """The original's probability of the answer that ``outputs`` give, and of its own answer; shape (n, 2).

    What falls is the top-1 accuracy that the original's probabilities promise, so its drop estimates that of top-1
    without labels: an answer that changed between two classes the original held to be equally likely costs nothing on
    average, one it was sure of costs a whole sample. That is as true as the original is calibrated. A network that is
    surer than it is right takes nearly every changed answer for a full loss, and then this is the share of changed
    answers, the most that top-1 can fall by. Scores that are not probabilities are taken for logits.
    """
    if not is_scores(outputs) or outputs.shape != original.shape:
        raise UsageError("metric confidence: expected scores of shape (N, C)", hint="name such an output with --output")
    return score_beliefs(outputs, original)


def score_beliefs(outputs: np.ndarray, original: np.ndarray) -> np.ndarray:
    """:func:`score_confidence` of scores of shape (n, C), (n, 2).

    Where the original says nothing (NaN), the same nothing is right; elsewhere NaN is no answer.
    """
    of_probabilities = are_probabilities(original)
    return compute_by_rows(lambda b, a: _score_rows(b, a, of_probabilities), outputs, original)


def compute_by_rows(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """``function`` of ``arrays`` (n, C), some rows at a time: float64 of a whole vocabulary takes many times its memory."""
    rows = max(1, MAX_ELEMENTS // max(arrays[0].shape[1], 1))
    starts = range(0, max(len(arrays[0]), 1), rows)
    return np.concatenate([function(*(array[start : start + rows] for array in arrays)) for start in starts])


def _score_rows(outputs: np.ndarray, original: np.ndarray, of_probabilities: bool) -> np.ndarray:
    believed = np.exp(to_log_probabilities(original, of_probabilities))
    nothing = np.isnan(original).any(axis=1)
    answer = np.argmax(np.nan_to_num(outputs, nan=-np.inf), axis=1)[:, None]
    chosen = np.take_along_axis(believed, answer, axis=1)[:, 0] * ~np.isnan(outputs).any(axis=1)
    same_nothing = (np.isnan(outputs) == np.isnan(original)).all(axis=1)
    own = np.where(nothing, 1.0, np.nan_to_num(believed).max(axis=1))
    return np.stack([np.where(nothing, same_nothing, chosen), own], axis=1)


def finish_confidence(means: np.ndarray) -> np.ndarray:
    """The expected accuracy, (m, 2) → (m,).

    An original that gives its own answers less than a half is no judge by its probabilities (a thousand classes whose
    scores were never trained to be logits): then a half stands for what it believes, or nothing could be lost.
    """
    return np.asarray(means[:, 0] * np.maximum(1.0, 0.5 / np.maximum(means[:, 1], 1e-12)))


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether the last axis of ``scores`` holds shares of 1, to the resolution of 8 bits."""
    if not scores.size or np.nanmin(scores, initial=np.inf) < 0:
        return False
    known = scores[~np.isnan(scores).any(axis=-1)]
    return bool(known.size) and np.allclose(known.sum(axis=-1, dtype=np.float64), 1.0, atol=1e-2)


def to_log_probabilities(scores: np.ndarray, of_probabilities: bool) -> np.ndarray:
    """Log-probabilities along the last axis, float64, of probabilities, log-probabilities or logits.

    Args:
        scores: Any shape (…, C).
        of_probabilities: They are probabilities; a result's are read as its original's.
    """
    values = scores.astype(np.float64)
    if not of_probabilities:
        return np.asarray(scipy.special.log_softmax(values, axis=-1))
    # A quantised softmax says exactly 0 where the original says 1e-9: that is its resolution, not an infinite surprise.
    floored = np.maximum(values, MIN_PROBABILITY)
    return np.asarray(np.log(floored / floored.sum(axis=-1, keepdims=True)))


def count_hits(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """What is there and found, found without being there, and there without being found; shape (n, 3)."""
    truth = original if labels is None else labels
    if outputs.dtype.kind != "f" or not 0 <= original.min(initial=0) <= original.max(initial=0) <= 1 + 1e-3:
        raise UsageError("metric f1: expected probabilities", hint="name such an output with --output")
    if truth.size != outputs.size or (labels is not None and not np.isin(labels, (0, 1)).all()):
        raise InvalidDataError(
            f"labels: metric f1 expects 0 and 1 of the output's shape {outputs.shape}, got {truth.dtype} of shape"
            f" {truth.shape}"
        )
    predicted, actual = flatten_samples(outputs) >= 0.5, flatten_samples(truth) >= 0.5
    counts = [(predicted & actual).sum(1), (predicted & ~actual).sum(1), (~predicted & actual).sum(1)]
    return np.stack(counts, axis=1).astype(float)


def finish_f1(means: np.ndarray) -> np.ndarray:
    """F1 of what is there and found, found only, there only; (m, 3) → (m,)."""
    hits, errors = 2 * means[:, 0], means[:, 1] + means[:, 2]
    return np.asarray(np.divide(hits, hits + errors, out=np.ones(len(means)), where=hits + errors > 0))
