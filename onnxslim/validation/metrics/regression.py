"""Errors of numbers as they are: relative to the original's norm, or against labels in the unit of the data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxslim.activations.output_error import difference
from onnxslim.validation.metrics.metric import PartsFunction, as_column, check_numeric_labels, flatten_samples


def score_relative_error(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    energy = np.square(np.nan_to_num(flatten_samples(original), posinf=0, neginf=0)).sum(axis=1)
    if outputs.shape != original.shape:  # nothing to subtract: as far apart as two things that share nothing
        error = energy + np.square(flatten_samples(outputs)).sum(axis=1)
    else:
        error = np.square(difference(flatten_samples(original), flatten_samples(outputs))).sum(axis=1)
    return np.stack([np.where(np.isnan(error), np.inf, error), energy], axis=1)


def finish_relative(means: np.ndarray) -> np.ndarray:
    error, energy = means[:, 0], means[:, 1]
    ratio = np.divide(error, energy, out=np.where(error > 0, np.inf, 0.0), where=energy > 0)
    return np.asarray(1 - np.sqrt(ratio))


def score_errors(name: str, measure: Callable[[np.ndarray], np.ndarray]) -> PartsFunction:
    def deviations(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return as_column(measure(flatten_samples(outputs) - check_numeric_labels(name, labels, outputs)).mean(axis=1))

    return deviations


def take_root(means: np.ndarray) -> np.ndarray:
    """The root of the mean, shape (m, 1) → (m,)."""
    return np.asarray(np.sqrt(means[:, 0]))
