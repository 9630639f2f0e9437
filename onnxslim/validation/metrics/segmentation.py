"""Maps of classes: which pixels two of them share."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.classification import get_predictions


def count_shared_pixels(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    if outputs.dtype.kind != "f" or outputs.ndim < 3:
        raise UsageError("metric miou: expected scores of shape (N, C, H, W)", hint="name such an output with --output")
    predicted, truth = _classify_pixels(outputs), _classify_pixels(original) if labels is None else labels
    if truth.shape != predicted.shape:
        raise InvalidDataError(f"metric miou: expected labels of shape {predicted.shape}, got {truth.shape}")
    count = max(2, outputs.shape[1])
    classes = np.arange(count).reshape(-1, *[1] * predicted.ndim)
    is_labeled = (truth >= 0) & (truth < count)  # 255 and -1 are the customary "ignore this pixel"
    predicted_masks, true_masks = (predicted == classes) & is_labeled, (truth == classes) & is_labeled
    axes = tuple(range(2, predicted_masks.ndim))
    counts = [(predicted_masks & true_masks).sum(axes).T, (predicted_masks | true_masks).sum(axes).T]
    return np.concatenate(counts, axis=1).astype(np.float64)


def finish_miou(means: np.ndarray) -> np.ndarray:
    intersection, union = np.split(means, 2, axis=1)
    occurs = union > 0
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=occurs)
    return np.asarray(iou.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))


def _classify_pixels(outputs: np.ndarray) -> np.ndarray:
    """The class of every pixel; of a single map of probabilities, whether it is at least a half."""
    return get_predictions(outputs) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(np.int64)
