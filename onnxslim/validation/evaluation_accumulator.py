"""Everything that is summed while the samples go by, and the :class:`Evaluation` it closes with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.validation.kind_accumulator import KindAccumulator
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.metrics.user_metric import UserMetric, UserMetricAccumulator
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_rows import as_rows
from onnxslim.validation.sanity_checks import OutputVariation, check_above_chance
from onnxslim.validation.sequences.state_drift import StateDrift

OutputValues = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the samples showed.

    Attributes:
        metrics: All that was measured, the one that gates first.
        output: The output that was judged, or the first of several.
        gating: Those of ``metrics`` that gate, each with the output it is of; by default the first.
        kinds: What each output was taken for.
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
    kinds: Sequence[OutputKind] = ()

    def __post_init__(self) -> None:
        if not self.gating:
            object.__setattr__(self, "gating", self.metrics[:1])

    @property
    def metric(self) -> MetricResult:
        """The metric that gates: of several the one that lost most, counted in points of top-1."""
        return max(self.gating, key=get_comparable_drop)

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
            "judged": {
                "output": self.output,
                "disagreeing": self.disagreeing.tolist(),
                "kinds": [kind.as_json() for kind in self.kinds],
            },
        }


def get_comparable_drop(metric: MetricResult) -> float:
    """How much a metric lost, in points of top-1; what cannot be told apart from a loss of everything is one."""
    drop = metric.scaled_drop
    if drop is None:
        return -math.inf
    return math.inf if math.isnan(drop) else drop


class EvaluationAccumulator:
    """The sums of one evaluation.

    Args:
        kinds: What the outputs are, and so what they are judged by.
        result: The result's outputs for the first batch, by name.
        original: The original's, or None when the model is judged alone.
        labels: Of all samples, or None.
        function: A metric of the user's, which then gates alone.
        names_output: The user named what is judged; otherwise such a function sees every output, where there are several.
        longest_sequence: Steps of the longest sequence, where samples are steps; else 0.

    Raises:
        UsageError: There is nothing to judge by.
    """

    def __init__(
        self,
        kinds: Sequence[OutputKind],
        result: OutputValues,
        original: OutputValues | None,
        labels: np.ndarray | None,
        function: UserMetric | None = None,
        *,
        names_output: bool = False,
        longest_sequence: int = 0,
    ) -> None:
        first_outputs = result if original is None else original
        self.kinds = list(kinds)
        found = [KindAccumulator(kind, has_labels=labels is not None, has_original=original is not None) for kind in kinds]
        self.user_metric = None if function is None else UserMetricAccumulator(function)
        if self.user_metric is None and not any(one.gates for one in found):
            raise UsageError(
                "nothing to judge by: the data have no labels that a metric reads, and there is no reference model",
                hint="give the original as the reference, or labels",
            )
        #: What is judged first stands for the model where one output has to.
        self.main = next((one for one in found if one.gates), found[0])
        self.accumulators = found
        self.sees_all = len(first_outputs) > 1 and not names_output
        tensors = [name for name, values in first_outputs.items() if isinstance(values, np.ndarray)]
        self.fidelities = {} if original is None else {name: OutputFidelity() for name in tensors}
        self.variation = OutputVariation()
        self.drift = StateDrift(longest_sequence) if longest_sequence and original is not None else None
        self.warnings: list[str] = []

    @property
    def output(self) -> str:
        """The output that is judged, or the first of several."""
        return self.main.kind.outputs[0]

    def add(self, result: OutputValues, original: OutputValues | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples.

        Raises:
            UnsupportedError: What is judged is not there: a sequence, or an optional, that came with fewer tensors.
        """
        self._check_members([result] if original is None else [result, original])
        for name, fidelity in self.fidelities.items():
            assert original is not None
            fidelity.add(original[name], result[name])
        for accumulator in self.accumulators:
            accumulator.add(result, original, labels, n)
        values = (result if original is None else original)[self.output]
        if len(self.main.kind.outputs) == 1 and values.dtype.kind == "f":
            self.variation.add(as_rows(self.output, values, n))
        if self.user_metric is None:
            return
        if self.sees_all:
            self.user_metric.add(result, original, labels, n)
        else:
            rows = [None if one is None else as_rows(self.output, one[self.output], n) for one in (result, original)]
            self.user_metric.add(rows[0], rows[1], labels, n)

    def _check_members(self, sides: Sequence[OutputValues]) -> None:
        """Refuse outputs without what is judged; what is only told is not told further."""
        absent = {name for one in self.accumulators for name in one.kind.outputs} | self.fidelities.keys()
        absent = {name for name in absent if not all(name in outputs for outputs in sides)}
        for name in sorted(absent):
            if name == self.output or any(name in one.kind.outputs and one.reads for one in self.accumulators):
                raise UnsupportedError(
                    f"output {name} is there in some samples only", hint="name a tensor that always is with --output"
                )
            if self.fidelities.pop(name, None) is not None:
                self.warnings.append(f"output {name} is there in some samples only: how far it has moved is not told")

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
        measured = [(one, metric) for one in self.accumulators for metric in one.compute()]
        gating = [metric for one, metric in measured if metric.name in one.gates]
        if self.user_metric is not None:
            gating = [self.user_metric.compute()]
        # the one that lost most is told first
        gating.sort(key=get_comparable_drop, reverse=True)
        beside = [metric for _, metric in measured if not any(metric is one for one in gating)]
        judged = {name for kind in self.kinds for name in kind.outputs}
        fidelity_warnings = [line for name, f in self.fidelities.items() for line in f.warnings(name)]
        return Evaluation(
            metrics=gating + beside,
            output=self.output,
            outputs=self.fidelities,
            drift=self.drift,
            original_correct=original_correct,
            result_correct=result_correct,
            disagreeing=self._find_disagreeing(),
            warnings=[*self.warnings, *fidelity_warnings, *(self.drift.warnings(judged) if self.drift else ())],
            gating=gating,
            kinds=self.kinds,
        )

    def _find_disagreeing(self) -> np.ndarray:
        for one in (self.main, *self.accumulators):
            if (agreement := one.by_sample.get("agreement")) is not None and agreement.original:
                return np.flatnonzero(np.concatenate(agreement.result)[:, 0] < 1)
        return np.zeros(0, np.int64)

    def _get_correct(self, side: str) -> np.ndarray | None:
        for one in self.accumulators:
            if (top1 := one.by_sample.get("top1")) is not None:
                parts: list[np.ndarray] = getattr(top1, side)
                return np.concatenate(parts)[:, 0] == 1 if parts else None
        return None

    def _check_chance(self, labels: np.ndarray | None, original: np.ndarray | None, result: np.ndarray | None) -> None:
        correct = result if original is None else original
        if correct is not None and labels is not None:
            check_above_chance("the model" if original is None else "the original", int(correct.sum()), labels)
        elif (warning := self.variation.warning(self.output)) is not None:
            self.warnings.append(warning)
