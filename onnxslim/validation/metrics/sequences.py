"""Sequences of tokens: what is said at every step, or, decoded, by the edits between two readings."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.classification import (
    MIN_PROBABILITY,
    are_probabilities,
    compute_by_rows,
    score_beliefs,
    to_log_probabilities,
)
from onnxslim.validation.metrics.metric import as_column


def score_tokens(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Expected top-1 of each step, as :func:`~.classification.score_confidence` has it, mean over a sample; (n, 2).

    Scores are of shape (N, T, C) or (N, C), the classes last.
    """
    _check_steps("tokens", outputs)
    if outputs.shape != original.shape:
        outputs = np.full_like(original, np.nan)
    return _average_steps(score_beliefs(_list_steps(outputs), _list_steps(original)), original, nothing=1.0)


def measure_divergence(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """KL(original ‖ result) of each step in nats, mean over a sample; (n, 1).

    A step at which the result says nothing (NaN) costs as much as missing what the original is sure of.
    """
    _check_steps("kl", outputs)
    worst = -np.log(MIN_PROBABILITY)
    if outputs.shape != original.shape:
        return np.full((len(original), 1), worst)
    of_probabilities = are_probabilities(original)

    def diverge(outputs: np.ndarray, original: np.ndarray) -> np.ndarray:
        p, q = (to_log_probabilities(values, of_probabilities) for values in (original, outputs))
        with np.errstate(invalid="ignore", over="ignore"):
            # a class that is masked out (-inf in both) adds nothing
            divergence = np.where(p > -np.inf, np.exp(p) * (p - q), 0.0).sum(axis=1)
        divergence = np.clip(np.nan_to_num(divergence, nan=worst), 0.0, worst)
        return as_column(np.where(np.isnan(original).any(axis=1), 0.0, divergence))

    return _average_steps(compute_by_rows(diverge, _list_steps(outputs), _list_steps(original)), original, nothing=0.0)


def _list_steps(scores: np.ndarray) -> np.ndarray:
    """Steps of all samples as rows, (n, …, C) → (m, C)."""
    return scores.reshape(-1, scores.shape[-1])


def _average_steps(values: np.ndarray, original: np.ndarray, *, nothing: float) -> np.ndarray:
    """Means over the steps of each sample of ``original``, (m, k) → (n, k); ``nothing`` where there are none."""
    n = len(original)
    if not len(values):
        return np.full((n, values.shape[1]), nothing)
    return np.asarray(values.reshape(n, -1, values.shape[1]).mean(axis=1))


def _check_steps(name: str, outputs: np.ndarray) -> None:
    if outputs.dtype.kind != "f" or outputs.ndim < 2 or outputs.shape[-1] < 2:
        raise UsageError(
            f"metric {name}: expected scores of shape (N, T, C) or (N, C)", hint="name such an output with --output"
        )


def count_edits(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Edits between what is read and what is true (the original's reading without labels), and its length; (n, 2)."""
    if outputs.dtype.kind != "f" or outputs.ndim != 3:
        raise UsageError("metric ctc: expected scores of shape (N, T, C)", hint="name such an output with --output")
    truths = [_decode_greedily(row) for row in original] if labels is None else [row[row > 0] for row in labels]
    edits = [edit_distance(_decode_greedily(row), truth) for row, truth in zip(outputs, truths, strict=True)]
    return np.stack([np.asarray(edits, float), np.asarray([len(truth) for truth in truths], float)], axis=1)


def finish_ctc(means: np.ndarray) -> np.ndarray:
    """One less the edits for each token, (m, 2) → (m,)."""
    edits, length = means[:, 0], means[:, 1]
    return np.asarray(1 - np.divide(edits, length, out=np.where(edits > 0, 1.0, 0.0), where=length > 0))


def _decode_greedily(scores: np.ndarray) -> np.ndarray:
    """Greedy CTC decoding (Graves, 2006): repeats merged, then the blank, class 0, left out."""
    best = scores.argmax(axis=1)
    keep = np.concatenate([[True], best[1:] != best[:-1]]) & (best != 0)
    return np.asarray(best[keep])


def edit_distance(a: np.ndarray, b: np.ndarray) -> int:
    """Levenshtein's distance of two sequences."""
    row = np.arange(len(b) + 1)
    for i, item in enumerate(a, 1):
        step = np.minimum(row[1:] + 1, row[:-1] + (b != item))
        # An insertion costs 1 per place: the running minimum of value - place, put back.
        row = np.minimum.accumulate(np.concatenate([[i], step]) - np.arange(len(b) + 1)) + np.arange(len(b) + 1)
    return int(row[-1])
