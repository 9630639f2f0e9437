"""What a metric of a whole set of samples is, and how it tells what was lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation import statistics
from onnxslim.validation.metrics.accumulator import MAX_JACKKNIFE_GROUPS, TOP1_POINT, MetricResult


class DatasetMetric(ABC):
    """A metric that only a whole set of samples has; what it keeps of a batch is small.

    Attributes:
        name: As on the command line and in the JSON report.
        display_name: As people call it.
        point: The drop, in its own unit, that weighs as much as one point of a classifier's top-1 (0.01).
        higher_is_better: False for errors.
        against: Whether outputs are judged by the original's, or by labels where there are any.
        reads_all: It is handed all outputs by name, where the others are handed the judged one as an array.
    """

    name: ClassVar[str]
    display_name: ClassVar[str]
    point: ClassVar[float] = TOP1_POINT
    higher_is_better: ClassVar[bool] = True
    against: ClassVar[Literal["original", "either"]] = "original"
    reads_all: ClassVar[bool] = False

    @abstractmethod
    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples.

        Args:
            result: An array with the sample on the first axis, or arrays by name.
            original: The same of the original, or None.
            labels: Of the batch, or None.
            n: Samples.

        Raises:
            UsageError: The outputs are not of the metric's kind.
            InvalidDataError: The labels are not, or there is nothing to compare with.
        """

    @abstractmethod
    def compute(self) -> MetricResult:
        """The values of both models, the drop, and what they prove."""

    def describe_loss(self, loss: float, losses_without: Callable[[int], float], n: int, note: str = "") -> MetricResult:
        """The result of a metric by which the original is perfect by definition.

        Args:
            loss: What the result falls short of it.
            losses_without: The same without a group of samples, of :data:`MAX_JACKKNIFE_GROUPS` taken in turn.
            n: Samples.
            note: See :class:`MetricResult`.
        """
        groups = min(MAX_JACKKNIFE_GROUPS, n)
        losses = np.array([losses_without(group) for group in range(groups)])
        interval = None
        if groups > 1 and np.isfinite(losses).all():
            low, high = statistics.jackknife_interval(losses, loss)
            interval = max(low, 0.0), high
        best, value = (1.0, 1 - loss) if self.higher_is_better else (0.0, loss)
        return MetricResult(
            self.name, best, value, loss, interval, n, share=True, higher_is_better=self.higher_is_better,
            point=self.point, note=note,
        )  # fmt: skip


def require_original(name: str, original: Any | None) -> Any:
    """``original``.

    Raises:
        UsageError: There is none.
    """
    if original is None:
        raise UsageError(f"metric {name} needs a reference model to compare with")
    return original
