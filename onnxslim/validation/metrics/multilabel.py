"""Independent probabilities, cut at a half: tags, notes, voice."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.metric import flatten_samples


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
    hits, errors = 2 * means[:, 0], means[:, 1] + means[:, 2]
    return np.asarray(np.divide(hits, hits + errors, out=np.ones(len(means)), where=hits + errors > 0))
