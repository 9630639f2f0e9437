"""Maps of classes: which pixels two of them share."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.classification import get_predictions

#: A class that covers less of a map than this is the ragged edge of another.
MIN_SHARE_OF_MAP = 1e-3
#: More than this along both axes behind the samples are an image, not classes of a line.
MAX_CLASSES_OF_LINE = 32


def count_shared_pixels(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Pixels of each class in both and in either of two maps, shape (n, 2 C)."""
    if outputs.dtype.kind != "f" or outputs.ndim < 3 or 0 in outputs.shape[1:]:
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
    """Their quotient, the mean over the classes that occur; (m, 2 C) → (m,)."""
    intersection, union = np.split(means, 2, axis=1)
    occurs = union > 0
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=occurs)
    return np.asarray(iou.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))


def _classify_pixels(outputs: np.ndarray) -> np.ndarray:
    """The class of every pixel; of a single map of probabilities, whether it is at least a half."""
    return get_predictions(outputs) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(np.int64)


def score_overlap(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """How much of what the original marks in a sample is marked alike, and whether there is anything; shape (n, 2).

    That is intersection over union: of a single map, or of two classes, of the foreground; of more the mean over the
    classes that the original sees there; of numbers of classes (an ArgMax inside the model) without class 0, by custom
    the background. Two maps that mark nothing are the same, and are no evidence either.
    """
    if outputs.dtype.kind not in "fiub" or outputs.ndim < 3:
        raise UsageError(
            "metric iou: expected maps of shape (N, H, W), (N, C, H, W) or (N, H, W, C)",
            hint="name such an output with --output",
        )
    if outputs.shape != original.shape:
        return np.tile([0.0, 1.0], (len(original), 1))
    axis = find_class_axis(original.shape) if outputs.dtype.kind == "f" else None
    if axis is not None and original.shape[axis] > 1:
        two = original.shape[axis] == 2
        maps = [get_predictions(np.moveaxis(values, axis, 1)) for values in (original, outputs)]
        return np.array([_overlap_classes(*pair, background=0 if two else None) for pair in zip(*maps, strict=True)])
    if outputs.dtype.kind != "f":
        return np.array([_overlap_classes(*pair, background=0) for pair in zip(original, outputs, strict=True)])
    expected, found = (values.reshape(len(values), -1) for values in (original, outputs))
    threshold = get_mask_thresholds(expected)
    shared, union = ((part(expected > threshold, found > threshold)).sum(axis=1) for part in (np.logical_and, np.logical_or))
    says_nothing = (np.isnan(found) > np.isnan(expected)).any(axis=1)
    overlap = np.divide(shared, union, out=np.zeros(len(union)), where=(union > 0) & ~says_nothing)
    return np.stack([overlap, (union > 0) | says_nothing], axis=1)


def finish_overlap(means: np.ndarray) -> np.ndarray:
    """The mean overlap of the samples in which something is marked, (m, 2) → (m,)."""
    overlap, marked = means[:, 0], means[:, 1]
    return np.asarray(np.divide(overlap, marked, out=np.ones(len(means)), where=marked > 0))


def find_class_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of the classes in maps of ``shape`` (N, C, …) or (N, …, C): the smaller; None where there is none.

    Three axes are (N, C, L) of a line where one of them is small, else (N, H, W).
    """
    axis = 1 if shape[1] <= shape[-1] else len(shape) - 1
    return None if len(shape) == 3 and shape[axis] > MAX_CLASSES_OF_LINE else axis


def get_mask_thresholds(maps: np.ndarray) -> np.ndarray:
    """What is marked in each of single maps (n, places): probabilities above a half, logits above 0; shape (n, 1)."""
    is_share = (np.nanmin(maps, axis=1, initial=0) >= 0) & (np.nanmax(maps, axis=1, initial=0) <= 1 + 1e-3)
    return np.where(is_share, 0.5, 0.0)[:, None]


def _overlap_classes(original: np.ndarray, result: np.ndarray, *, background: int | None) -> tuple[float, float]:
    """The mean overlap of the classes in one map, and whether either holds any."""
    classes, counts = np.unique(original, return_counts=True)
    seen = classes[(counts >= MIN_SHARE_OF_MAP * original.size) & (classes != background)].tolist()
    if not seen:  # nothing but a few pixels: they count like a whole of what is found there
        seen = [c for c in np.union1d(classes, result).tolist() if c != background]
    overlaps = [((original == c) & (result == c)).sum() / ((original == c) | (result == c)).sum() for c in seen]
    return float(np.mean(overlaps)) if seen else 0.0, float(bool(seen))
