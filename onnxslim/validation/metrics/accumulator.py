"""One metric over a stream of batches, of the original and the result side by side, and what the two prove."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxslim.core.converter import JSON
from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import is_in_units
from onnxslim.validation import statistics
from onnxslim.validation.metrics.metric import FinishFunction, Metric
from onnxslim.validation.statistics import Interval

#: The interval of a metric of the whole set is from leaving out one of at most so many groups of samples at a time.
MAX_JACKKNIFE_GROUPS = 20
#: One point of a classifier's top-1, which drops of every metric are counted in.
TOP1_POINT = 0.01


@dataclass(frozen=True)
class MetricResult:
    """One metric of both models.

    Attributes:
        name: The metric.
        original: Its value for the original; None when there is none to compare with.
        result: Its value for the result.
        drop: How much worse the result is, in the metric's own unit; None without an original.
        interval: The 95 % interval of the drop, paired; None where it cannot be told.
        n: Samples.
        provable: The smallest drop that these samples could have proved; None without an interval.
        p_value: Of McNemar's mid-p test that both are equally often right, for metrics of right and wrong.
        share: The values are shares of 1, which people read as percentages.
        higher_is_better: False for errors.
        point: The drop that weighs as much as one point of top-1 (0.01), in the metric's own unit.
        output: The output that it is of; None where it reads several.
        note: What the value is in other words (PSNR in dB), or what it could not be held against; may be empty.
        guards: It guards another metric: what was seen counts, and its uncertainty is not held against anything.
    """

    name: str
    original: float | None
    result: float
    drop: float | None = None
    interval: Interval | None = None
    n: int = 0
    provable: float | None = None
    p_value: float | None = None
    share: bool = False
    higher_is_better: bool = True
    point: float = TOP1_POINT
    output: str | None = None
    note: str = ""
    guards: bool = False

    @property
    def scaled_drop(self) -> float | None:
        """The drop in points of top-1 (0.01 is one), so that one limit means the same for every metric."""
        return None if self.drop is None else self._scale(self.drop)

    @property
    def scaled_interval(self) -> Interval | None:
        """The interval of :attr:`scaled_drop`."""
        return None if self.interval is None else (self._scale(self.interval[0]), self._scale(self.interval[1]))

    def get_drop_by(self, limit: float) -> float | None:
        """The drop as ``limit`` counts it: in the metric's own unit where that is one in units, else scaled."""
        return self.drop if is_in_units(limit) else self.scaled_drop

    def get_interval_by(self, limit: float) -> Interval | None:
        """The interval of :meth:`get_drop_by`."""
        return self.interval if is_in_units(limit) else self.scaled_interval

    def get_own_limit(self, limit: float) -> float:
        """``limit`` in the metric's own unit."""
        return float(limit) if is_in_units(limit) else limit * (self.point / TOP1_POINT)

    def _scale(self, value: float) -> float:
        if self.point == 0:  # the original makes no error at all: any is endlessly more
            return math.copysign(math.inf, value) if value else 0.0
        return value * (TOP1_POINT / self.point)

    def describe_subject(self) -> str:
        """The metric and, where it is known, the output it is of."""
        return self.name if self.output is None else f"{self.name} of {self.output}"

    def format_value(self, value: float) -> str:
        """``value`` of this metric as a person reads it."""
        return f"{100 * value:.4g} %" if self.share else f"{value:.4g}"

    def as_json(self) -> dict[str, Any]:
        """The contract's entry; null stands for a value that is not finite."""
        values = JSON.unstructure(self)
        del values["guards"]  # a metric that gates is marked, and its limit says the rest
        unit, better = "%" if values.pop("share") else "", "higher" if values.pop("higher_is_better") else "lower"
        scaled = {"scaled_drop": self.scaled_drop, "scaled_interval": self.scaled_interval}
        return {**values, **dict(JSON.unstructure(scaled)), "unit": unit, "better": better}


class MetricAccumulator:
    """A metric, streamed: it keeps the parts of each sample and nothing else."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.original: list[np.ndarray] = []
        self.result: list[np.ndarray] = []
        self.has_labels = False

    def add(self, result: np.ndarray, original: np.ndarray | None, labels: np.ndarray | None) -> None:
        """Take in one batch of the judged output, the sample on the first axis.

        Raises:
            UsageError: The output is not of the metric's kind.
            InvalidDataError: The labels are not of the metric's kind.
        """
        self.has_labels = labels is not None
        if original is not None:
            self._keep(self.original, self.metric.parts(original, original, labels))
        self._keep(self.result, self.metric.parts(result, result if original is None else original, labels))

    def _keep(self, kept: list[np.ndarray], parts: np.ndarray) -> None:
        if kept and kept[0].shape[1:] != parts.shape[1:]:
            raise UsageError(
                f"metric {self.metric.name} reads so many classes in each sample, and these differ in that",
                hint="name an output whose classes are the same in all samples with --output, or another metric",
            )
        kept.append(parts)

    def compute(self) -> MetricResult:
        """The values, the drop, and what they prove."""
        result = np.concatenate(self.result)
        original = np.concatenate(self.original) if self.original else None
        by_original = self.metric.against == "original" or (self.metric.against == "either" and not self.has_labels)
        metric_result = compare_paired(
            self.metric.name, original, result, self.metric.finish,
            higher_is_better=self.metric.higher_is_better, by_definition=by_original,
        )  # fmt: skip
        if self.metric.counts_answers and original is not None:
            metric_result = _count_unseen(metric_result, original[:, 0], result[:, 0])
        point = self.metric.point
        if self.metric.is_relative and metric_result.original is not None:
            point *= abs(metric_result.original)
        return replace(
            metric_result, share=self.metric.higher_is_better, higher_is_better=self.metric.higher_is_better, point=point
        )


def _count_unseen(found: MetricResult, original: np.ndarray, result: np.ndarray) -> MetricResult:
    """``found`` with an interval that allows for answers that change on other samples; a resampling only knows those seen.

    Args:
        found: What was compared.
        original: What each answer is worth, (n,), in whatever unit.
        result: The same of the result's.
    """
    if found.interval is None or found.drop is None or found.original is None:
        return found
    unit = found.original / max(float(original.mean()), 1e-12)
    error = statistics.estimate_answer_error(np.clip(unit * (original - result), -1.0, 1.0))
    return replace(found, interval=statistics.widen_interval(found.interval, found.drop, error))


def compare_paired(
    name: str,
    original: np.ndarray | None,
    result: np.ndarray,
    finish: FinishFunction,
    *,
    higher_is_better: bool = True,
    by_definition: bool = False,
) -> MetricResult:
    """The metric of both models from the parts of each sample, shapes (n, k), with the interval of their difference.

    Args:
        name: The metric.
        original: Parts of the original, or None.
        result: Parts of the result.
        finish: From means of parts to values.
        higher_is_better: False for errors, whose drop is how much they grow.
        by_definition: The original is right because it is the measure; then there is nothing it could lose by.
    """
    n, k = result.shape
    result_value = float(finish(result.mean(axis=0, keepdims=True))[0])
    if original is None:
        return MetricResult(name, None, result_value, n=n)
    original_value = float(finish(original.mean(axis=0, keepdims=True))[0])
    sign = 1.0 if higher_is_better else -1.0
    drop = sign * (original_value - result_value)
    # an error that happens to be nothing everywhere is no share of anything
    if higher_is_better and k == 1 and np.isin(original, (0, 1)).all() and np.isin(result, (0, 1)).all():
        lost, gained = int((original > result).sum()), int((original < result).sum())
        if by_definition:
            return MetricResult(name, original_value, result_value, drop, statistics.wilson_interval(lost, n), n)
        interval = statistics.paired_proportion_interval(lost, gained, n)
        provable = statistics.smallest_provable_drop(n, lost + gained)
        return MetricResult(
            name, original_value, result_value, drop, interval, n, provable, statistics.mcnemar(lost, gained)
        )

    def compute_drop(means: np.ndarray) -> np.ndarray:
        return sign * (finish(means[:, :k]) - finish(means[:, k:]))

    interval = statistics.bootstrap_interval(np.concatenate([original, result], axis=1), compute_drop)
    return MetricResult(
        name, original_value, result_value, drop, interval, n, None if by_definition else _half_width(interval)
    )


def compare_on_dataset(
    name: str, measure: Callable[[bool, np.ndarray | None], float], n: int, groups: int, *, has_original: bool
) -> MetricResult:
    """A metric that means nothing on a part of the data, and the jackknife interval of its drop.

    Args:
        name: The metric.
        measure: (of the original, not the result; indices of samples, or None for all) → its value; higher is better.
        n: Samples.
        groups: How many groups are left out, one at a time; with fewer than 2, or where a value is NaN, no interval.
        has_original: There is an original to compare with.
    """
    result = measure(False, None)
    if not has_original:
        return MetricResult(name, None, result, n=n)
    original = measure(True, None)
    compared = MetricResult(name, original, result, original - result, n=n)
    drops = np.empty(groups)
    for group in range(groups):
        remaining = np.flatnonzero(np.arange(n) % groups != group)
        drops[group] = measure(True, remaining) - measure(False, remaining)
    if groups < 2 or np.isnan(drops).any():
        return compared
    interval = statistics.jackknife_interval(drops, original - result)
    return replace(compared, interval=interval, provable=_half_width(interval))


def _half_width(interval: Interval) -> float:
    """The smallest drop an interval of this width could have told from zero."""
    return (interval[1] - interval[0]) / 2
