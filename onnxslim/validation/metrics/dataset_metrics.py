"""Metrics that are defined on a whole data set only (AP), and their intervals; a few numbers a sample are kept.

To add one, write a class with the three methods of
:class:`~onnxslim.validation.metrics.user_metric.UserMetricAccumulator` and give it a row in :data:`DATASET_METRICS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.validation.metrics import detection
from onnxslim.validation.metrics.accumulator import MAX_JACKKNIFE_GROUPS, MetricResult, compare_on_dataset

#: Without labels, boxes of the original from this score on are taken for true.
MIN_TRUSTED_SCORE = 0.25


class DetectionAccumulator:
    """AP of boxes against labels ``(N, K, 5)``, or against the original's own boxes where there are none."""

    name, display_name = "ap", "AP"

    def __init__(self) -> None:
        self._result: list[detection.Matches] = []
        self._original: list[detection.Matches] = []
        self._has_labels = False

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """Take in one batch of ``n`` samples.

        Raises:
            UsageError: No boxes in the outputs.
            InvalidDataError: The labels are no boxes, or there is nothing to match with.
        """
        result_boxes = detection.read_boxes(_name_outputs(result), n)
        original_boxes = None if original is None else detection.read_boxes(_name_outputs(original), n)
        if labels is not None and labels.ndim == 3 and labels.shape[2] == 5:
            self._has_labels, true_boxes = True, detection.boxes_from_labels(labels)
        elif labels is not None:
            raise InvalidDataError(
                f"labels: metric ap expects boxes of shape (N, K, 5) (x1, y1, x2, y2, class), got {labels.dtype} of"
                f" shape {labels.shape}",
                hint="class -1 fills up images that have fewer boxes",
            )
        elif original_boxes is not None:
            true_boxes = [boxes.with_min_score(MIN_TRUSTED_SCORE) for boxes in original_boxes]
        else:
            raise InvalidDataError("metric ap needs labels, or a reference model to compare with")
        self._result += [detection.match_boxes(*pair) for pair in zip(result_boxes, true_boxes, strict=True)]
        if original_boxes is not None:
            self._original += [detection.match_boxes(*pair) for pair in zip(original_boxes, true_boxes, strict=True)]

    def compute(self) -> MetricResult:
        """AP of both models, the drop, and its interval by leaving out groups of images.

        Raises:
            InvalidDataError: There are no true boxes in any image.
        """
        n = len(self._result)

        def measure(of_original: bool, remaining: np.ndarray | None) -> float:
            images = self._original if of_original else self._result
            return detection.average_precision(images if remaining is None else [images[i] for i in remaining])

        groups = min(MAX_JACKKNIFE_GROUPS, n) if n > 1 else 0
        compared = compare_on_dataset(self.name, measure, n, groups, has_original=bool(self._original))
        if np.isnan(compared.result):
            raise InvalidDataError(
                f"metric ap: no true boxes in {n} samples"
                + ("" if self._has_labels else f"; the original finds none with a score of {MIN_TRUSTED_SCORE} or more"),
                hint="give images that show what the model detects",
            )
        return replace(compared, provable=compared.provable if self._has_labels else None, share=True)


def _name_outputs(outputs: Any) -> Mapping[str, Any]:
    return outputs if isinstance(outputs, Mapping) else {"output": outputs}


#: name → what tallies it
DATASET_METRICS: dict[str, type[DetectionAccumulator]] = {"ap": DetectionAccumulator}
