"""Everything that is summed while the samples go by, and the :class:`Evaluation` it closes with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics import detection
from onnxslim.validation.metrics.accumulator import MetricAccumulator, MetricResult
from onnxslim.validation.metrics.dataset_metric import DatasetMetric
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS, DetectionAccumulator
from onnxslim.validation.metrics.user_metric import UserMetric, UserMetricAccumulator
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.output_selection import as_rows, choose_metrics, pick_output
from onnxslim.validation.sanity_checks import OutputVariation, check_above_chance
from onnxslim.validation.state_drift import StateDrift

OutputValues = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the samples showed.

    Attributes:
        metrics: All that was measured, the one that gates first.
        output: The output that was judged, or the first of several.
        gating: Those of ``metrics`` that gate, each with the output it is of; by default the first.
        outputs: How far each output has moved from the original's, by name; empty without a reference.
        drift: The error of each output by time step, where samples are steps of sequences.
        original_correct: Shape (n,), bool: where the original's top-1 is the label; None without labels or reference.
        result_correct: The same of the result; None without labels.
        disagreeing: Indices of the samples whose answer changed, ascending, int64.
        warnings: One line each.
    """

    metrics: list[MetricResult]
    output: str
    outputs: dict[str, OutputFidelity] = field(default_factory=dict)
    drift: StateDrift | None = None
    original_correct: np.ndarray | None = None
    result_correct: np.ndarray | None = None
    disagreeing: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    warnings: list[str] = field(default_factory=list)
    gating: list[MetricResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.gating:
            object.__setattr__(self, "gating", self.metrics[:1])

    @property
    def metric(self) -> MetricResult:
        """The metric that gates: of several the one that lost most, counted in points of top-1."""
        return max(self.gating, key=_get_comparable_drop)

    def find(self, name: str) -> MetricResult | None:
        """The metric called ``name``, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def find_like(self, metric: MetricResult) -> MetricResult:
        """The metric that is called like ``metric`` and is of the same output."""
        return next(one for one in self.metrics if (one.name, one.output) == (metric.name, metric.output))

    def as_json(self) -> dict[str, Any]:
        """The contract's ``metrics`` and ``outputs``, and ``judged``: the output, and who changed the answer."""
        drift = {name: {"over_time": d} for name in self.outputs if self.drift and (d := self.drift.as_json(name))}
        return {
            "metrics": [metric.as_json() | {"gates": metric in self.gating} for metric in self.metrics],
            "outputs": {name: fidelity.as_json() | drift.get(name, {}) for name, fidelity in self.outputs.items()},
            "judged": {"output": self.output, "disagreeing": self.disagreeing.tolist()},
        }


def _get_comparable_drop(metric: MetricResult) -> float:
    drop = metric.scaled_drop
    if drop is None:
        return -math.inf
    return math.inf if math.isnan(drop) else drop


def _make_metric_accumulator(metric: str | UserMetric | None) -> UserMetricAccumulator | DatasetMetric | None:
    """What tallies a metric that is no sum over samples."""
    if callable(metric):
        return UserMetricAccumulator(metric)
    return DATASET_METRICS[metric]() if metric in DATASET_METRICS else None


class EvaluationAccumulator:
    """The sums of one evaluation. It is opened on the first batch, whose outputs show what there is to judge.

    Args:
        result: The result's outputs for the first batch, by name.
        original: The original's, or None when the model is judged alone.
        labels: Of all samples, or None.
        n: Samples in the batch.
        metric: What the user asked for (see :func:`~onnxslim.validation.evaluation.evaluate`).
        output: The output the user named, or None.
        longest: Steps of the longest sequence, where samples are steps; else 0.
    """

    def __init__(
        self,
        result: OutputValues,
        original: OutputValues | None,
        labels: np.ndarray | None,
        n: int,
        metric: str | UserMetric | None,
        output: str | None,
        *,
        longest_sequence: int = 0,
    ) -> None:
        first_outputs = result if original is None else original
        self.output = pick_output(first_outputs, n, output)
        #: A user's function sees every output, unless there is only one or one was named.
        self.sees_all = output is None and len(first_outputs) > 1
        boxes = labels is None or labels.shape[1:][-1:] == (5,)
        #: Boxes are judged as such unasked, where there are any.
        self.detects_by_default = (
            metric is None and output is None and original is not None and boxes and detection.has_named_boxes(first_outputs)
        )
        self.dataset_metric = _make_metric_accumulator(DetectionAccumulator.name if self.detects_by_default else metric)
        metric_name = metric if isinstance(metric, str) and self.dataset_metric is None else None
        judged_rows = as_rows(self.output, first_outputs[self.output], n)
        chosen, self.warnings = choose_metrics(judged_rows, labels, metric_name, without_reference=original is None)
        if not chosen and self.dataset_metric is None:
            raise UsageError(
                "nothing to judge by: the data have no labels that a metric reads, and there is no reference model",
                hint="give the original as the reference, or labels",
            )
        self.accumulators = {metric.name: MetricAccumulator(metric) for metric in chosen}
        tensors = [name for name, values in first_outputs.items() if isinstance(values, np.ndarray)]
        self.fidelities = {} if original is None else {name: OutputFidelity() for name in tensors}
        self.variation = OutputVariation()
        self.drift = StateDrift(longest_sequence) if longest_sequence and original is not None else None

    def add(self, result: OutputValues, original: OutputValues | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples."""
        for name, fidelity in self.fidelities.items():
            assert original is not None
            fidelity.add(original[name], result[name])
        result_rows = as_rows(self.output, result[self.output], n)
        original_rows = None if original is None else as_rows(self.output, original[self.output], n)
        for tally in self.accumulators.values():
            tally.add(result_rows, original_rows, labels)
        if result_rows.dtype.kind == "f":
            self.variation.add(result_rows if original_rows is None else original_rows)
        if self.dataset_metric is not None and self.sees_all and self.dataset_metric.reads_all:
            self.dataset_metric.add(result, original, labels, n)
        elif self.dataset_metric is not None:
            self.dataset_metric.add(result_rows, original_rows, labels, n)

    def add_steps(self, result: OutputValues, original: OutputValues | None, times: np.ndarray) -> None:
        """Take in the same once more as the steps ``times`` of sequences, a row each."""
        if self.drift is not None and original is not None:
            self.drift.add(original, result, times)

    def compute(self, labels: np.ndarray | None, *, random: bool) -> Evaluation:
        """Everything the samples showed.

        Args:
            labels: Of all samples, or None.
            random: The samples are noise, on which no model can be better than chance.

        Raises:
            InvalidDataError: The original does no better than guessing.
        """
        original_correct, result_correct = (self._get_correct(side) for side in ("original", "result"))
        if not random:
            self._check_chance(labels, original_correct, result_correct)
        agreement = self.accumulators.get("agreement")
        changed = np.concatenate(agreement.result)[:, 0] < 1 if agreement else np.zeros(0, bool)
        dataset_results = [] if self.dataset_metric is None else self._compute_metric(self.dataset_metric)
        fidelity_warnings = [line for name, f in self.fidelities.items() for line in f.warnings(name)]
        return Evaluation(
            metrics=dataset_results + [tally.compute() for tally in self.accumulators.values()],
            output=self.output,
            outputs=self.fidelities,
            drift=self.drift,
            original_correct=original_correct,
            result_correct=result_correct,
            disagreeing=np.flatnonzero(changed),
            warnings=[*self.warnings, *fidelity_warnings, *(self.drift.warnings() if self.drift else ())],
        )

    def _compute_metric(self, function: UserMetricAccumulator | DatasetMetric) -> list[MetricResult]:
        try:
            return [function.compute()]
        except InvalidDataError as error:
            if not self.detects_by_default:
                raise
            self.warnings.append(error.message)
            return []

    def _get_correct(self, side: str) -> np.ndarray | None:
        parts: list[np.ndarray] = getattr(self.accumulators["top1"], side) if "top1" in self.accumulators else []
        return np.concatenate(parts)[:, 0] == 1 if parts else None

    def _check_chance(self, labels: np.ndarray | None, original: np.ndarray | None, result: np.ndarray | None) -> None:
        correct = result if original is None else original
        if correct is not None and labels is not None:
            check_above_chance("the model" if original is None else "the original", int(correct.sum()), labels)
        elif (warning := self.variation.warning(self.output)) is not None:
            self.warnings.append(warning)
