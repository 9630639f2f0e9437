"""The metrics of one kind of output, summed while the samples go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.accumulator import MetricAccumulator, MetricResult
from onnxslim.validation.metrics.dataset_metric import DatasetMetric
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.table import METRICS
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_rows import as_rows


class KindAccumulator:
    """What is measured of one output, or of several that are read together.

    Args:
        kind: What it is.
        has_labels: The samples have labels.
        has_original: There is an original to compare with.
    """

    def __init__(self, kind: OutputKind, *, has_labels: bool, has_original: bool) -> None:
        self.kind = kind
        self._has_labels, self._has_original = has_labels and kind.reads_labels, has_original
        names = [name for name in kind.metrics if self._is_measurable(name)]
        self.gates = [name for name in kind.gates if name in names]
        self.by_sample = {name: MetricAccumulator(METRICS[name]) for name in names if name in METRICS}
        self.by_set: dict[str, DatasetMetric] = {name: DATASET_METRICS[name]() for name in names if name in DATASET_METRICS}

    @property
    def reads(self) -> bool:
        """Whether something is measured of it."""
        return bool(self.by_sample or self.by_set)

    def _is_measurable(self, name: str) -> bool:
        labels = self._gets_labels(name)
        return {"labels": labels, "original": self._has_original, "either": labels or self._has_original}[_get_judge(name)]

    def _gets_labels(self, name: str) -> bool:
        """Whether labels decide the metric, here: what compares with the original is not handed them."""
        return self._has_labels and (name in self.kind.label_gates or _get_judge(name) == "labels")

    def add(self, result: Mapping[str, Any], original: Mapping[str, Any] | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples.

        Raises:
            NoRowsError: An output has no row a sample.
            UsageError: It is not what a metric reads.
            InvalidDataError: The labels are not.
        """
        rows: list[np.ndarray | None] = []
        if self.by_sample or any(not metric.reads_all for metric in self.by_set.values()):
            rows = [self.get_rows(result, n), None if original is None else self.get_rows(original, n)]
        for name, metric in self.by_set.items():
            both = [None if one is None else self._pick(one) for one in (result, original)] if metric.reads_all else rows
            metric.add(both[0], both[1], labels if self._gets_labels(name) else None, n)
        for name, tally in self.by_sample.items():
            read = [None if one is None else self.kind.arrange_for(name, one) for one in rows]
            assert read[0] is not None
            tally.add(read[0], read[1], labels if self._gets_labels(name) else None)

    def get_rows(self, outputs: Mapping[str, Any], n: int) -> np.ndarray:
        """The first output, the sample on the first axis, as its metrics read it."""
        name = self.kind.outputs[0]
        return self.kind.arrange(as_rows(name, outputs[name], n))

    def _pick(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: outputs[name] for name in self.kind.outputs}

    def compute(self) -> list[MetricResult]:
        """All that was measured, in the order of the kind, each with the output that it is of."""
        results = {name: tally.compute() for name, tally in (self.by_sample | self.by_set).items()}
        return [
            replace(
                results[name],
                output=self.kind.title,
                point=results[name].point * self.kind.get_leniency(name),
                guards=name in self.kind.guards,
            )
            for name in self.kind.metrics
            if name in results
        ]


def check_measurable(metric: str, *, has_labels: bool, has_original: bool) -> None:
    """Refuse a metric whose measure is not there; an unknown one is none of ours to refuse.

    Raises:
        UsageError: It compares with labels or an original, and there are none.
    """
    if metric not in METRICS and metric not in DATASET_METRICS:
        return
    against = _get_judge(metric)
    if against == "labels" and not has_labels:
        raise UsageError(f"metric {metric} needs labels", hint="name their key with --labels")
    if (against == "original" and not has_original) or not (has_labels or has_original):
        raise UsageError(f"metric {metric} needs a reference model to compare with")


def _get_judge(name: str) -> str:
    """What the metric called ``name`` judges by."""
    return METRICS[name].against if name in METRICS else DATASET_METRICS[name].against
