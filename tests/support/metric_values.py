"""The value of a metric on arrays."""

from __future__ import annotations

import numpy as np

from onnxslim.validation.metrics.table import METRICS


def metric_value(
    name: str, outputs: np.ndarray, original: np.ndarray | None = None, labels: np.ndarray | None = None
) -> float:
    """The metric ``name`` of ``outputs``, judged by labels or by ``original`` (by default by themselves)."""
    metric = METRICS[name]
    parts = metric.parts(outputs, outputs if original is None else original, labels)
    assert parts.shape[0] == len(outputs)
    return float(metric.finish(parts.mean(axis=0, keepdims=True))[0])
