"""A user's own metric: any function of (outputs, labels) that gives a value per sample, or one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.accumulator import MAX_JACKKNIFE_GROUPS, MetricResult, compare_on_dataset, compare_paired

#: (outputs, labels or None) → values of shape (n,), or one value; higher is better
UserMetric = Callable[[Any, "np.ndarray | None"], Any]


class UserMetricAccumulator:
    """A user's function over a stream of batches.

    When it gives a value per sample, only those are kept. A function of one value (AP, a correlation, F1) means
    nothing on a batch: then the judged outputs stay in memory, it is called on all of them, and its interval is the
    jackknife's. It is handed the judged output as an array, or all outputs as a dict when the model has several and
    none was named; outputs without a row per sample (boxes after suppression) reach it as a list, one array a sample.
    """

    reads_all = True

    def __init__(self, function: UserMetric) -> None:
        self.function = function
        self.name = str(getattr(function, "__name__", type(function).__name__))
        self.per_sample: bool | None = None
        self.original: list[Any] = []
        self.result: list[Any] = []
        self.labels: list[np.ndarray] = []
        self.counts: list[int] = []

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples.

        Raises:
            UsageError: The function raised, or returned another shape.
            InvalidDataError: It returned NaN.
        """
        if self.per_sample is None:
            self.per_sample = self._is_per_sample(result, labels, n)
        self.counts.append(n)
        if not self.per_sample and labels is not None:
            self.labels.append(labels)
        for store, outputs in ((self.original, original), (self.result, result)):
            if outputs is not None:
                store.append(self._call(outputs, labels, (n,)) if self.per_sample else outputs)

    def compute(self) -> MetricResult:
        """The values, the drop, and its interval."""
        if self.per_sample:
            original = np.concatenate(self.original)[:, None] if self.original else None
            return compare_paired(self.name, original, np.concatenate(self.result)[:, None], lambda means: means[:, 0])
        return self._compute_on_dataset()

    def _compute_on_dataset(self) -> MetricResult:
        n = sum(self.counts)
        labels = np.concatenate(self.labels) if self.labels else None
        joined = [_join_batches(batches, self.counts) if batches else None for batches in (self.result, self.original)]

        def measure(of_original: bool, remaining: np.ndarray | None) -> float:
            outputs = joined[of_original]
            if remaining is None:
                return float(self._call(outputs, labels, ()))
            remaining_labels = None if labels is None else labels[remaining]
            return float(self._call(_select_samples(outputs, remaining), remaining_labels, ()))

        groups = MAX_JACKKNIFE_GROUPS if n >= 2 * MAX_JACKKNIFE_GROUPS else 0
        return compare_on_dataset(self.name, measure, n, groups, has_original=bool(self.original))

    def _is_per_sample(self, outputs: Any, labels: np.ndarray | None, n: int) -> bool:
        try:
            shape = np.shape(self.function(outputs, labels))
        except Exception:
            return False  # one batch may lack what it needs (a second class); on the whole set it has to work
        if shape not in ((), (n,)):
            raise UsageError(f"metric {self.name}: expected shape ({n},) for {n} samples, or one value; got {shape}")
        return shape == (n,)

    def _call(self, outputs: Any, labels: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
        try:
            values = np.asarray(self.function(outputs, labels), dtype=np.float64)
        except Exception as error:
            raise UsageError(
                f"metric {self.name} raised {type(error).__name__}: {error}",
                hint="it is called as metric(outputs, labels) and returns a number per sample, or one number",
            ) from error
        if values.shape != shape:
            raise UsageError(f"metric {self.name}: expected shape {shape}, as for the first batch; got {values.shape}")
        if np.isnan(values).any():
            raise InvalidDataError(f"metric {self.name} returned NaN")
        return values


def _join_batches(batches: list[Any], counts: list[int]) -> Any:
    """All batches as one array (or dict of arrays), or as a list with one array per sample."""
    if isinstance(batches[0], dict):
        return {name: _join_batches([batch[name] for batch in batches], counts) for name in batches[0]}
    has_rows = all(batch.ndim and len(batch) == n for batch, n in zip(batches, counts, strict=True))
    if has_rows and len({batch.shape[1:] for batch in batches}) == 1:
        return np.concatenate(batches)
    if has_rows:
        return [sample for batch in batches for sample in batch]
    if any(n != 1 for n in counts):
        raise UsageError("a metric of the whole set needs outputs with a row per sample", hint="use --batch-size 1")
    return batches


def _select_samples(outputs: Any, index: np.ndarray) -> Any:
    if isinstance(outputs, dict):
        return {name: _select_samples(values, index) for name, values in outputs.items()}
    return outputs[index] if isinstance(outputs, np.ndarray) else [outputs[i] for i in index]
