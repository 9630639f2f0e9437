"""Metrics, one table row each: what every sample contributes, and what becomes of the mean of that.

A metric is a sum over samples, finished once: top-1 sums hits, a relative error sums two energies and takes a quotient,
mIoU sums two counts a class. So evaluation streams, and resampling the rows resamples the metric. To add one, write the
function that scores a batch and give it a row in :data:`METRICS`; what it is used for unasked say the kinds of outputs
(:mod:`onnxslim.validation.output_kinds`).
"""

from __future__ import annotations

import numpy as np

from onnxslim.validation.metrics import classification, numbers, segmentation, sequences
from onnxslim.validation.metrics.metric import Metric

#: name → metric
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "Top-1", classification.score_top(1), "labels"),
        Metric("top5", "Top-5", classification.score_top(5), "labels"),
        Metric("agreement", "Agreement", classification.score_agreement, "original"),
        Metric(
            "confidence", "Expected top-1", classification.score_confidence, "original",
            finish=classification.finish_confidence, counts_answers=True,
        ),
        Metric("miou", "mIoU", segmentation.count_shared_pixels, "either", finish=segmentation.finish_miou),
        Metric(
            "iou", "IoU with the original", segmentation.score_overlap, "original", finish=segmentation.finish_overlap,
            point=0.02,
        ),
        Metric("f1", "F1", classification.count_hits, "either", finish=classification.finish_f1),
        Metric(
            "relative", "1 − relative error", numbers.score_relative_error, "original",
            finish=numbers.finish_relative,
        ),
        Metric(
            "rmse", "RMSE", numbers.score_errors("rmse", np.square), "labels",
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
