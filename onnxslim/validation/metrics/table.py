"""Metrics, one table row each: what every sample contributes, and what becomes of the mean of that.

A metric is a sum over samples, finished once: top-1 sums hits, a relative error sums two energies and takes a quotient,
mIoU sums two counts a class. So evaluation streams, and resampling the rows resamples the metric. To add one, write the
function that scores a batch and give it a row in :data:`METRICS`; ``is_default_for`` says for which outputs and labels it is
used when the user names none, and the first that suits is the one that gates.
"""

from __future__ import annotations

import numpy as np

from onnxslim.validation.metrics import classification, numbers, segmentation, sequences
from onnxslim.validation.metrics.classification import is_scores
from onnxslim.validation.metrics.metric import Metric


def _has_real_labels(values: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the labels are real numbers, one for each of the output's."""
    return labels is not None and labels.dtype.kind == "f" and labels[:1].size == values[:1].size


def _has_class_labels(values: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the labels are classes, one a sample, and the output names or scores one."""
    classes = labels is not None and labels.ndim == 1 and labels.dtype.kind != "f"
    return classes and (is_scores(values) or (values.dtype.kind != "f" and values.ndim == 1))


def _has_many_classes(values: np.ndarray, labels: np.ndarray | None) -> bool:
    return _has_class_labels(values, labels) and is_scores(values) and values.shape[1] > 5


def _is_discrete(values: np.ndarray, labels: np.ndarray | None) -> bool:
    return values.dtype.kind != "f" or (is_scores(values) and not _has_real_labels(values, labels))


def _has_label_maps(values: np.ndarray, labels: np.ndarray | None) -> bool:
    """Whether the labels are class maps of the size of the output's score maps."""
    return (
        labels is not None and labels.dtype.kind in "iu" and values.dtype.kind == "f"
        and values.ndim > 2 and labels.shape[1:] == values.shape[2:]
    )  # fmt: skip


#: name → metric, the one that gates before the others
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "Top-1", classification.score_top(1), "labels", _has_class_labels),
        Metric("top5", "Top-5", classification.score_top(5), "labels", _has_many_classes),
        Metric("agreement", "Agreement", classification.score_agreement, "original", _is_discrete),
        Metric(
            "confidence", "Expected top-1", classification.score_confidence, "original",
            finish=classification.finish_confidence,
        ),
        Metric(
            "miou", "mIoU", segmentation.count_shared_pixels, "either", _has_label_maps, finish=segmentation.finish_miou
        ),
        Metric("iou", "IoU with the original", segmentation.score_overlap, "original", point=0.02),
        Metric("f1", "F1", classification.count_hits, "either", finish=classification.finish_f1),
        Metric(
            "relative", "1 − relative error", numbers.score_relative_error, "original",
            lambda values, labels: not _is_discrete(values, labels), finish=numbers.finish_relative,
        ),
        Metric(
            "rmse", "RMSE", numbers.score_errors("rmse", np.square), "labels", _has_real_labels,
            finish=numbers.take_root, higher_is_better=False, is_relative=True,
        ),
        Metric(
            "mae", "MAE", numbers.score_errors("mae", np.abs), "labels", higher_is_better=False, is_relative=True
        ),
        Metric(
            "tokens", "Expected token accuracy", sequences.score_tokens, "original",
            finish=classification.finish_confidence,
        ),
        Metric("kl", "KL divergence, nats", sequences.measure_divergence, "original", higher_is_better=False),
        Metric("ctc", "Sequence accuracy", sequences.count_edits, "either", finish=sequences.finish_ctc),
    )
}  # fmt: skip
