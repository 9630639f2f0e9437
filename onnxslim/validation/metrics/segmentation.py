"""Maps of classes: which pixels two of them share."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.validation.metrics.classification import get_predictions
from onnxslim.validation.metrics.metric import as_column

#: A class that covers less of a map than this is the ragged edge of another.
MIN_SHARE_OF_MAP = 1e-3
#: More than this along both axes behind the samples are an image, not classes of a line.
MAX_CLASSES_OF_LINE = 32


def count_shared_pixels(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Pixels of each class in both and in either of two maps, shape (n, 2 C)."""
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
    """Their quotient, the mean over the classes that occur; (m, 2 C) → (m,)."""
    intersection, union = np.split(means, 2, axis=1)
    occurs = union > 0
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=occurs)
    return np.asarray(iou.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))


def _classify_pixels(outputs: np.ndarray) -> np.ndarray:
    """The class of every pixel; of a single map of probabilities, whether it is at least a half."""
    return get_predictions(outputs) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(np.int64)


def score_overlap(outputs: np.ndarray, original: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """How much of what the original marks in a sample is marked alike: intersection over union; (n, 1).

    Of a single map, or of two classes, that is of the foreground; of more the mean over the classes that the original
    sees there. Two maps that mark nothing are the same.
    """
    if outputs.dtype.kind != "f" and outputs.ndim > 2:
        axis = None  # classes by number: an ArgMax inside the model
    elif outputs.dtype.kind == "f" and outputs.ndim > 2:
        axis = find_class_axis(original.shape)
    else:
        raise UsageError(
            "metric iou: expected maps of shape (N, H, W), (N, C, H, W) or (N, H, W, C)",
            hint="name such an output with --output",
        )
    if outputs.shape != original.shape:
        return np.zeros((len(original), 1))
    count = 0 if axis is None else original.shape[axis]
    if axis is not None and count > 1:
        maps = [get_predictions(np.moveaxis(values, axis, 1)) for values in (original, outputs)]
        return as_column(np.array([_overlap_classes(*pair, two=count == 2) for pair in zip(*maps, strict=True)]))
    if axis is None and original.dtype.kind != "b" and original.max(initial=0) > 1:
        return as_column(np.array([_overlap_classes(*pair, two=False) for pair in zip(original, outputs, strict=True)]))
    threshold = get_mask_threshold(original)
    marked, found = (values.reshape(len(values), -1) > threshold for values in (original, outputs))
    overlap = _divide((marked & found).sum(axis=1), (marked | found).sum(axis=1))
    says_nothing = (np.isnan(outputs) > np.isnan(original)).reshape(len(outputs), -1).any(axis=1)
    return as_column(np.where(says_nothing, 0.0, overlap))


def find_class_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of the classes in maps of ``shape`` (N, C, …) or (N, …, C): the smaller; None where there is none.

    Three axes are (N, C, L) of a line where one of them is small, else (N, H, W).
    """
    axis = 1 if shape[1] <= shape[-1] else len(shape) - 1
    return None if len(shape) == 3 and shape[axis] > MAX_CLASSES_OF_LINE else axis


def get_mask_threshold(original: np.ndarray) -> float:
    """What is marked in a single map: probabilities above a half, logits above 0, numbers of classes above 0."""
    is_share = (
        original.dtype.kind == "f" and np.nanmin(original, initial=0) >= 0 and np.nanmax(original, initial=0) <= 1 + 1e-3
    )
    return 0.5 if is_share else 0.0


def _overlap_classes(original: np.ndarray, result: np.ndarray, *, two: bool) -> float:
    """The mean overlap of the classes in one map; of two classes that of class 1."""
    classes, counts = np.unique(original, return_counts=True)
    seen = [1] if two else classes[counts >= MIN_SHARE_OF_MAP * original.size].tolist()
    of_original, of_result = ([values == c for c in seen] for values in (original, result))
    pairs = list(zip(of_original, of_result, strict=True))
    shared = np.array([(a & b).sum() for a, b in pairs])
    return float(_divide(shared, np.array([(a | b).sum() for a, b in pairs])).mean())


def _divide(shared: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(shared, union, out=np.ones(len(union)), where=union > 0))
