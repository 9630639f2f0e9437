"""Everything that is summed while the samples go by, and the :class:`Evaluation` it closes with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.errors import InvalidDataError, UsageError
from onnxslim.validate import detection
from onnxslim.validate.chance import Spread, check_top1
from onnxslim.validate.drift import Drift
from onnxslim.validate.fidelity import Fidelity
from onnxslim.validate.function import FunctionTally, UserMetric
from onnxslim.validate.judged import choose_metrics, pick_output, rows
from onnxslim.validate.tally import Measured, Tally
from onnxslim.validate.whole import WHOLE, DetectionTally

Outputs = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the samples showed.

    Attributes:
        metrics: The one that gates first.
        output: The output that was judged.
        outputs: How far each output has moved from the original's, by name; empty without a reference.
        drift: The same along the sequences, where samples are their steps.
        original_correct: Shape (n,), bool: where the original's top-1 is the label; None without labels or reference.
        result_correct: The same of the result; None without labels.
        disagreeing: Indices of the samples whose answer changed, ascending, int64.
        warnings: One line each.
    """

    metrics: list[Measured]
    output: str
    outputs: dict[str, Fidelity] = field(default_factory=dict)
    drift: Drift | None = None
    original_correct: np.ndarray | None = None
    result_correct: np.ndarray | None = None
    disagreeing: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    warnings: list[str] = field(default_factory=list)

    @property
    def metric(self) -> Measured:
        """The metric that gates."""
        return self.metrics[0]

    def find(self, name: str) -> Measured | None:
        """The metric called ``name``, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """The contract's ``metrics`` and ``outputs``, and ``judged``: the output, and who changed the answer."""
        return {
            "metrics": [metric.as_json() for metric in self.metrics],
            "outputs": {name: {**fidelity.as_json(), **self._in_time(name)} for name, fidelity in self.outputs.items()},
            "judged": {"output": self.output, "disagreeing": self.disagreeing.tolist()},
        }

    def _in_time(self, name: str) -> dict[str, Any]:
        found = [] if self.drift is None else self.drift.as_json(name)
        return {"over_time": found} if found else {}


def _function(metric: str | UserMetric | None) -> FunctionTally | DetectionTally | None:
    """What tallies a metric that is no sum over samples."""
    if callable(metric):
        return FunctionTally(metric)
    return WHOLE[metric]() if metric in WHOLE else None


class Ledger:
    """The sums of one evaluation. It is opened on the first batch, whose outputs show what there is to judge.

    Args:
        result: The result's outputs for the first batch, by name.
        original: The original's, or None when the model is judged alone.
        labels: Of all samples, or None.
        n: Samples in the batch.
        metric: What the user asked for (see :func:`~onnxslim.validate.evaluate.evaluate`).
        output: The output the user named, or None.
        longest: Steps of the longest sequence, where samples are steps; else 0.
    """

    def __init__(
        self,
        result: Outputs,
        original: Outputs | None,
        labels: np.ndarray | None,
        n: int,
        metric: str | UserMetric | None,
        output: str | None,
        *,
        longest: int = 0,
    ) -> None:
        first = result if original is None else original
        self.output = pick_output(first, n, output)
        #: A user's function sees every output, unless there is only one or one was named.
        self.sees_all = output is None and len(first) > 1
        boxes = labels is None or labels.shape[1:][-1:] == (5,)
        #: Boxes are judged as such unasked, where there are any.
        self.unasked = metric is None and output is None and original is not None and boxes and detection.named(first)
        self.function = _function(DetectionTally.name if self.unasked else metric)
        wanted = metric if isinstance(metric, str) and self.function is None else None
        judged = rows(self.output, first[self.output], n)
        chosen, self.warnings = choose_metrics(judged, labels, wanted, alone=original is None)
        if not chosen and self.function is None:
            raise UsageError(
                "nothing to judge by: the data have no labels that a metric reads, and there is no reference model",
                hint="give the original as the reference, or labels",
            )
        self.tallies = {metric.name: Tally(metric) for metric in chosen}
        tensors = [name for name, values in first.items() if isinstance(values, np.ndarray)]
        self.fidelity = {} if original is None else {name: Fidelity() for name in tensors}
        self.spread = Spread()
        self.drift = Drift(longest) if longest and original is not None else None

    def add(self, result: Outputs, original: Outputs | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples."""
        for name, fidelity in self.fidelity.items():
            assert original is not None
            fidelity.add(original[name], result[name])
        ours = rows(self.output, result[self.output], n)
        theirs = None if original is None else rows(self.output, original[self.output], n)
        for tally in self.tallies.values():
            tally.add(ours, theirs, labels)
        if ours.dtype.kind == "f":
            self.spread.add(ours if theirs is None else theirs)
        if self.function is not None and self.sees_all:
            self.function.add(result, original, labels, n)
        elif self.function is not None:
            self.function.add(ours, theirs, labels, n)

    def add_in_time(self, result: Outputs, original: Outputs | None, times: np.ndarray) -> None:
        """Take in the same once more as the steps ``times`` of sequences, a row each."""
        if self.drift is not None and original is not None:
            self.drift.add(original, result, times)

    def close(self, labels: np.ndarray | None, *, random: bool) -> Evaluation:
        """Everything the samples showed.

        Args:
            labels: Of all samples, or None.
            random: The samples are noise, on which no model can be better than chance.

        Raises:
            InvalidDataError: The original does no better than guessing.
        """
        original_correct, result_correct = (self._correct(side) for side in ("original", "result"))
        if not random:
            self._check_chance(labels, original_correct, result_correct)
        agreement = self.tallies.get("agreement")
        changed = np.concatenate(agreement.result)[:, 0] < 1 if agreement else np.zeros(0, bool)
        measured = [] if self.function is None else self._measured(self.function)
        return Evaluation(
            metrics=measured + [tally.measured() for tally in self.tallies.values()],
            output=self.output,
            outputs=self.fidelity,
            drift=self.drift,
            original_correct=original_correct,
            result_correct=result_correct,
            disagreeing=np.flatnonzero(changed),
            warnings=self._warnings(),
        )

    def _measured(self, function: FunctionTally | DetectionTally) -> list[Measured]:
        try:
            return [function.measured()]
        except InvalidDataError as error:
            if not self.unasked:
                raise
            self.warnings.append(error.message)
            return []

    def _warnings(self) -> list[str]:
        unlike = [line for name, f in self.fidelity.items() for line in f.warnings(name)]
        return [*self.warnings, *unlike, *(self.drift.warnings() if self.drift else ())]

    def _correct(self, side: str) -> np.ndarray | None:
        parts: list[np.ndarray] = getattr(self.tallies["top1"], side) if "top1" in self.tallies else []
        return np.concatenate(parts)[:, 0] == 1 if parts else None

    def _check_chance(self, labels: np.ndarray | None, original: np.ndarray | None, result: np.ndarray | None) -> None:
        correct = result if original is None else original
        if correct is not None and labels is not None:
            check_top1("the model" if original is None else "the original", int(correct.sum()), labels)
        elif (warning := self.spread.warning(self.output)) is not None:
            self.warnings.append(warning)
