"""Metrics that are defined on a whole data set only: of boxes, of numbers, and the table of all.

To add one, write a :class:`~onnxslim.validation.metrics.dataset_metric.DatasetMetric` and give it a row in
:data:`DATASET_METRICS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation import statistics
from onnxslim.validation.metrics import detection
from onnxslim.validation.metrics.accumulator import (
    MAX_JACKKNIFE_GROUPS,
    MetricResult,
    compare_on_dataset,
    compare_paired,
)
from onnxslim.validation.metrics.classification import finish_f1
from onnxslim.validation.metrics.dataset_metric import DatasetMetric, require_original
from onnxslim.validation.metrics.detection import MIN_TRUSTED_SCORE
from onnxslim.validation.metrics.embeddings import NeighborsMetric, SimilarityMetric
from onnxslim.validation.metrics.images import ImageErrorMetric
from onnxslim.validation.metrics.numbers import NumberSums
from onnxslim.validation.metrics.undecoded.cells import CellsMetric, OffsetsMetric
from onnxslim.validation.output_rows import NoRowsError

#: A point of AP against the original's own boxes: every box that changed is lost there, while of labels some are won.
OWN_BOXES_POINT = 0.015


class DetectionAccumulator(DatasetMetric):
    """AP of boxes against labels ``(N, K, 5)``, or against the original's own boxes where there are none.

    The latter over overlaps up to :data:`~onnxslim.validation.metrics.detection.MAX_OWN_IOU` only.
    """

    name, display_name, against, reads_all = "ap", "AP", "either", True
    #: Boxes of less than this are not counted.
    _min_score: ClassVar[float] = 0.0

    def __init__(self) -> None:
        self._result: list[detection.Matches] = []
        self._original: list[detection.Matches] = []
        self._has_labels = False

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """See :meth:`.DatasetMetric.add`; outputs that hold boxes, labels (N, K, 5)."""
        # against the original's own boxes a candidate of less than half of what is trusted is neither found nor in the way
        least, trusted = (
            (detection.MIN_SCORE, detection.MIN_SCORE) if labels is not None else (MIN_TRUSTED_SCORE / 2, MIN_TRUSTED_SCORE)
        )
        original_boxes = None if original is None else detection.read_boxes(_name_outputs(original), n, trusted)
        try:
            result_boxes = detection.read_boxes(_name_outputs(result), n, max(self._min_score, least))
        except NoRowsError:
            raise
        except UsageError:
            if original is None:
                raise
            result_boxes = [detection.Boxes.none()] * n  # what the original says in them is lost
        if labels is not None and labels.ndim == 3 and labels.shape[2] == 5:
            self._has_labels, true_boxes = True, detection.boxes_from_labels(labels)
        elif labels is not None:
            raise InvalidDataError(
                f"labels: metric {self.name} expects boxes of shape (N, K, 5) (x1, y1, x2, y2, class), got"
                f" {labels.dtype} of shape {labels.shape}",
                hint="class -1 fills up images that have fewer boxes",
            )
        elif original_boxes is not None:
            true_boxes = [boxes.with_min_score(MIN_TRUSTED_SCORE) for boxes in original_boxes]
        else:
            raise InvalidDataError(f"metric {self.name} needs labels, or a reference model to compare with")
        self._result += self._match(result_boxes, true_boxes)
        if original_boxes is not None:
            self._original += self._match(original_boxes, true_boxes)

    def _match(self, found: list[detection.Boxes], true: list[detection.Boxes]) -> list[detection.Matches]:
        pairs = zip(found, true, strict=True)
        return [detection.match_boxes(boxes.with_min_score(self._min_score), truths) for boxes, truths in pairs]

    def compute(self) -> MetricResult:
        """AP of both models, the drop, and its interval by leaving out groups of images.

        Raises:
            InvalidDataError: There are no true boxes in any image.
        """
        self._check_truths()
        n, max_iou = len(self._result), 1.0 if self._has_labels else detection.MAX_OWN_IOU

        def measure(of_original: bool, remaining: np.ndarray | None) -> float:
            images = self._original if of_original else self._result
            return detection.average_precision(images if remaining is None else [images[i] for i in remaining], max_iou)

        groups = min(MAX_JACKKNIFE_GROUPS, n) if n > 1 else 0
        compared = compare_on_dataset(self.name, measure, n, groups, has_original=bool(self._original))
        if self._has_labels:
            return replace(compared, share=True)
        return self._allow_for_few_boxes(replace(compared, share=True, provable=None, point=OWN_BOXES_POINT))

    def _allow_for_few_boxes(self, compared: MetricResult) -> MetricResult:
        """``compared`` with the interval of a share of as many boxes as there are, where that of images is narrower.

        One box of twenty that changed is all that most images know nothing of, so leaving out images hardly moves it.
        """
        count = sum(len(image.truths) for image in self._result)
        if self._has_labels or compared.drop is None or compared.interval is None:
            return compared
        low, high = statistics.wilson_interval(round(min(max(compared.drop, 0.0), 1.0) * count), count)
        return replace(compared, interval=(min(low, compared.interval[0]), max(high, compared.interval[1])))

    def _check_truths(self) -> None:
        if not any(len(image.truths) for image in self._result):
            raise InvalidDataError(
                f"metric {self.name}: no true boxes in {len(self._result)} samples"
                + ("" if self._has_labels else f"; the original finds none with a score of {MIN_TRUSTED_SCORE} or more"),
                hint="give images that show what the model detects",
            )


class BoxF1Metric(DetectionAccumulator):
    """F1 of the boxes from a score of :data:`MIN_TRUSTED_SCORE` on that match true ones at an overlap of 0.5."""

    name, display_name, point = "box_f1", "F1 of boxes, IoU 0.5", 0.02
    _min_score = MIN_TRUSTED_SCORE
    _min_iou: ClassVar[float] = 0.5

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`.

        Raises:
            InvalidDataError: There are no true boxes in any image.
        """
        self._check_truths()
        column = int(np.argmin(np.abs(detection.IOU_THRESHOLDS - self._min_iou)))
        original, result = (
            np.array([detection.count_matches(image, column) for image in images]) if images else None
            for images in (self._original, self._result)
        )
        assert result is not None
        compared = compare_paired(self.name, original, result, finish_f1, by_definition=not self._has_labels)
        return self._allow_for_few_boxes(replace(compared, share=True, point=self.point))


class TightBoxF1Metric(BoxF1Metric):
    """The same at an overlap of 0.75: whether boxes stay where they are."""

    name, display_name, point = "box_f1_75", "F1 of boxes, IoU 0.75", 0.05
    _min_iou = 0.75


class VarianceMetric(DatasetMetric):
    """The share of the variance between samples that is kept: 1 - error variance / variance.

    A hundredth lost is an SQNR of 20 dB against what varies (SNR in the sense of analysis of variance, not against the
    mean). The error's mean counts as error.
    """

    name, display_name = "variance", "Variance kept"
    _measured: ClassVar[Literal["variance", "deviation"]] = "variance"

    def __init__(self) -> None:
        self._sums = NumberSums()

    def add(self, result: Any, original: Any | None, labels: np.ndarray | None, n: int) -> None:
        """See :meth:`.DatasetMetric.add`; arrays of numbers."""
        expected = require_original(self.name, original)
        if expected.dtype.kind not in "fiu":
            raise UsageError(f"metric {self.name}: expected numbers, got {expected.dtype}", hint="name such an output")
        self._sums.add(result, expected)

    def compute(self) -> MetricResult:
        """See :meth:`.DatasetMetric.compute`."""
        sums = self._sums
        loss = sums.measure(self._measured)
        return self.describe_loss(loss, lambda group: sums.measure(self._measured, group), sums.n, sums.describe_scale())


class DeviationMetric(VarianceMetric):
    """The mean size of the error over the spread (the standard deviation) between samples, as people tell errors."""

    name, display_name, point, higher_is_better = "deviation", "Error of the spread", 0.05, False
    _measured = "deviation"


def _name_outputs(outputs: Any) -> Mapping[str, Any]:
    return outputs if isinstance(outputs, Mapping) else {"output": outputs}


#: name → what tallies it
DATASET_METRICS: dict[str, type[DatasetMetric]] = {
    metric.name: metric
    for metric in (
        DetectionAccumulator, BoxF1Metric, TightBoxF1Metric, VarianceMetric, DeviationMetric, SimilarityMetric,
        NeighborsMetric, ImageErrorMetric, CellsMetric, OffsetsMetric,
    )
}  # fmt: skip
