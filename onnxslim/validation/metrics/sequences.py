"""Sequences of tokens: decoded and compared by the edits between them."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import UsageError


def count_edits(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if outputs.dtype.kind != "f" or outputs.ndim != 3:
        raise UsageError("metric ctc: expected scores of shape (N, T, C)", hint="name such an output with --output")
    truths = [_decode_greedily(row) for row in original] if labels is None else [row[row > 0] for row in labels]
    edits = [edit_distance(_decode_greedily(row), truth) for row, truth in zip(outputs, truths, strict=True)]
    return np.stack([np.asarray(edits, float), np.asarray([len(truth) for truth in truths], float)], axis=1)


def finish_ctc(means: np.ndarray) -> np.ndarray:
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
