"""What a metric is, and what every one of them asks of outputs and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError

#: (outputs of the model, outputs of the original, labels or None), the sample on the first axis → parts, shape (n, k)
PartsFunction = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], np.ndarray]
#: means of the parts, shape (m, k) → m values
FinishFunction = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """One way to judge outputs.

    Attributes:
        name: As on the command line and in the JSON report.
        display_name: As people call it.
        parts: What each sample of a batch contributes: float64, shape (n, k).
        against: Whether outputs are judged by labels, by the original's outputs, or by labels where there are any.
        finish: From means of parts to values; the mean itself by default.
        higher_is_better: False for errors.
        point: The drop, in the metric's own unit, that weighs as much as one point of a classifier's top-1 (0.01).
        counts_answers: A sample has one answer, and loses at most its first part, and nothing unless that changes.
        is_relative: ``point`` is a share of the original's value, because the unit is that of the data.
    """

    name: str
    display_name: str
    parts: PartsFunction
    against: Literal["labels", "original", "either"]
    finish: FinishFunction = lambda means: means[:, 0]
    higher_is_better: bool = True
    point: float = 0.01
    is_relative: bool = False
    counts_answers: bool = False


def as_column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def flatten_samples(outputs: np.ndarray) -> np.ndarray:
    return outputs.reshape(len(outputs), -1).astype(np.float64)


def check_class_labels(name: str, labels: np.ndarray | None, outputs: np.ndarray) -> np.ndarray:
    """Class labels, shape (n,), that fit ``outputs``."""
    if labels is None:
        raise UsageError(f"metric {name}: the data have no labels", hint="name their key with --labels")
    if labels.ndim != 1 or labels.dtype.kind not in ("iu" if outputs.dtype.kind == "f" else "iubUSO"):
        raise InvalidDataError(
            f"labels: metric {name} expects class numbers of shape (N,), got {labels.dtype} of shape {labels.shape}"
        )
    if outputs.dtype.kind == "f" and len(labels) and not 0 <= labels.min() <= labels.max() < outputs.shape[1]:
        raise InvalidDataError(
            f"labels: expected classes 0 to {outputs.shape[1] - 1}, got {labels.min()} to {labels.max()}",
            hint="classes are counted from 0 in the order of the model's scores",
        )
    return labels


def check_numeric_labels(name: str, labels: np.ndarray | None, outputs: np.ndarray) -> np.ndarray:
    """Numeric labels with as many elements as ``outputs``, flattened per sample."""
    if labels is None:
        raise UsageError(f"metric {name}: the data have no labels", hint="name their key with --labels")
    if labels.dtype.kind not in "iuf" or labels.size != outputs.size:
        raise InvalidDataError(
            f"labels: metric {name} expects numbers of the output's shape {outputs.shape}, got {labels.dtype}"
            f" of shape {labels.shape}"
        )
    return flatten_samples(labels)
