"""Metrics that only a whole set has, and their intervals: each keeps a few numbers a sample, never the outputs.

To add one, write a class with the three methods of :class:`~onnxslim.validate.function.FunctionTally` and give it a row in
:data:`WHOLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.errors import InvalidDataError
from onnxslim.validate import detection
from onnxslim.validate.statistics import jackknife_interval
from onnxslim.validate.tally import Measured, half_width

#: Without labels, boxes of the original from this score on are taken for true.
TRUSTED = 0.25
#: The interval is from leaving out one of at most so many groups at a time.
_GROUPS = 20


class DetectionTally:
    """AP of boxes against labels ``(N, K, 5)``, or against the original's own boxes where there are none."""

    name = "ap"

    def __init__(self) -> None:
        self._result: list[detection.Matches] = []
        self._original: list[detection.Matches] = []
        self._labelled = False

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples.

        Raises:
            UsageError: No boxes in the outputs.
            InvalidDataError: The labels are no boxes, or there is nothing to match with.
        """
        ours = detection.read(_named(result), n)
        theirs = None if original is None else detection.read(_named(original), n)
        if labels is not None and labels.ndim == 3 and labels.shape[2] == 5:
            self._labelled, truths = True, detection.truths_of(labels)
        elif labels is not None:
            raise InvalidDataError(
                f"labels: metric ap expects boxes of shape (N, K, 5) (x1, y1, x2, y2, class), got {labels.dtype} of"
                f" shape {labels.shape}",
                hint="class -1 fills up images that have fewer boxes",
            )
        elif theirs is not None:
            truths = [boxes.above(TRUSTED) for boxes in theirs]
        else:
            raise InvalidDataError("metric ap needs labels, or a reference model to compare with")
        self._result += [detection.match(*pair) for pair in zip(ours, truths, strict=True)]
        if theirs is not None:
            self._original += [detection.match(*pair) for pair in zip(theirs, truths, strict=True)]

    def measured(self) -> Measured:
        """AP of both models, the drop, and its interval by leaving out groups of images.

        Raises:
            InvalidDataError: There are no true boxes in any image.
        """
        n = len(self._result)
        value = detection.average_precision(self._result)
        if np.isnan(value):
            raise InvalidDataError(
                f"metric ap: no true boxes in {n} samples"
                + ("" if self._labelled else f"; the original finds none with a score of {TRUSTED} or more"),
                hint="give images that show what the model detects",
            )
        if not self._original:
            return Measured(self.name, None, value, n=n, share=True)
        first = detection.average_precision(self._original)
        drops = []
        for group in range(min(_GROUPS, n) if n > 1 else 0):
            kept = [i for i in range(n) if i % _GROUPS != group]
            pair = [detection.average_precision([of[i] for i in kept]) for of in (self._original, self._result)]
            drops.append(pair[0] - pair[1])
        measured = Measured(self.name, first, value, first - value, n=n, share=True)
        if len(drops) < 2 or np.isnan(drops).any():
            return measured
        interval = jackknife_interval(np.array(drops), first - value)
        provable = half_width(interval) if self._labelled else None
        return Measured(self.name, first, value, first - value, interval, n, provable, share=True)


def _named(outputs: Any) -> Mapping[str, Any]:
    return outputs if isinstance(outputs, Mapping) else {"output": outputs}


#: name → what tallies it
WHOLE: dict[str, type[DetectionTally]] = {"ap": DetectionTally}
