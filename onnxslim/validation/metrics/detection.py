"""Detection: boxes matched by their overlap, and the average precision of that. Arrays in, arrays out.

What counts is which boxes a model finds, not in which order or how many candidates it lists. So outputs are first read
as boxes (:func:`read_boxes`), whatever the export calls them:

- several outputs: boxes ``(N, K, 4)``, scores ``(N, K)`` with classes ``(N, K)``, or scores a class ``(N, K, C)``, one of
  which may be the background; of one sample also without the first axis (torchvision, TensorFlow, SSD);
- one output ``(N, K, 6)``: x1, y1, x2, y2, score, class, as exports with suppression inside give it;
- one output ``(N, 4 + C, K)``: centre, size and a score a class for every anchor (YOLOv8 and later);
- one output ``(N, K, 5 + C)``: the same with an objectness before the scores (YOLOv5, YOLOX), or nothing but that.

The last two still hold every candidate, so the best of those that overlap are kept, class by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.core.errors import UsageError
from onnxslim.validation.metrics.classification import are_probabilities
from onnxslim.validation.output_rows import as_rows

#: Overlaps at which boxes count as matched: the mean over these is COCO's AP.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
#: Non-maximum suppression: the least score of a candidate, the IoU above which the weaker of two goes, how many stay.
MIN_SCORE, MAX_NMS_IOU, MAX_DETECTIONS = 0.05, 0.5, 300
#: Without labels, boxes (or cells) of the original from this score on are taken for true.
MIN_TRUSTED_SCORE = 0.25
#: Against a model's own boxes AP is taken over overlaps up to this. Beyond it counts by how little of a box's width two
#: roundings of one model differ; a label is as far from either, so that of labels nothing is lost by that in the mean.
MAX_OWN_IOU = 0.75
#: Recall levels that precision is averaged over (COCO).
_RECALL_LEVELS = np.linspace(0, 1, 101)
_EXPECTED_FORMATS = "boxes (N, K, 4) with scores and classes, (N, K, 6), (N, 4 + C, K) or (N, K, 5 + C)"


@dataclass(frozen=True)
class Boxes:
    """What was found in one image: corners float64 (k, 4), scores (k,) and classes int64 (k,), best first."""

    corners: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    @classmethod
    def none(cls) -> Boxes:
        """Those of an image in which nothing was found."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))

    def with_min_score(self, score: float) -> Boxes:
        """Those of at least ``score``."""
        keep = self.scores >= score
        return Boxes(self.corners[keep], self.scores[keep], self.classes[keep])


@dataclass(frozen=True)
class Matches:
    """The detections of one image, matched to its true boxes.

    Attributes:
        scores: Of the boxes found, shape (k,), descending.
        classes: Of them, int64 (k,).
        hits: Whether each matches a true box, at each of :data:`IOU_THRESHOLDS`; bool (k, 10).
        truths: The classes of the true boxes, int64 (t,).
    """

    scores: np.ndarray
    classes: np.ndarray
    hits: np.ndarray
    truths: np.ndarray


def read_boxes(outputs: Mapping[str, Any], n: int, min_score: float = MIN_SCORE) -> list[Boxes]:
    """The boxes in each of ``n`` images; of candidates that are still to be suppressed those of at least ``min_score``.

    Raises:
        UsageError: Nothing in the outputs looks like boxes, or they have not as many scores.
        NoRowsError: There is one list for several images.
    """
    tensors = {name: v for name, v in outputs.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiu"}
    corners = _pick_tensor(tensors, "box", lambda v: v.ndim in (2, 3) and v.shape[-1] == 4)
    if len(tensors) > 1 and corners is not None:
        return _read_separate_tensors(tensors, corners, n, min_score)
    tensor = next((v for v in tensors.values() if v.ndim == 3 and len(v) == n and v.dtype.kind == "f"), None)
    if tensor is not None and tensor.shape[2] == 6 and is_box_list(tensor):
        return [_sort_boxes(image[:, :4], image[:, 4], image[:, 5]) for image in tensor]
    if tensor is None or min(tensor.shape[1:]) < 5:
        shapes = ", ".join(f"{name} {v.shape}" for name, v in tensors.items())
        raise UsageError(f"metric ap: no boxes in the outputs {shapes}", hint=f"expected {_EXPECTED_FORMATS}")
    if tensor.shape[1] < tensor.shape[2]:
        return [_suppress_non_maxima(image[:, :4], image[:, 4:], min_score=min_score) for image in tensor.transpose(0, 2, 1)]
    scores = tensor[..., 4:5] * tensor[..., 5:] if tensor.shape[2] > 5 else tensor[..., 4:]
    return [_suppress_non_maxima(b, s, min_score=min_score) for b, s in zip(tensor[..., :4], scores, strict=True)]


def has_named_boxes(outputs: Mapping[str, Any]) -> bool:
    """Whether the outputs are called boxes and scores, so that there is no doubt what they are."""
    tensors = {name.lower(): v for name, v in outputs.items() if isinstance(v, np.ndarray)}
    boxes = any("box" in name and v.ndim in (2, 3) and v.shape[-1] == 4 for name, v in tensors.items())
    return boxes and any("score" in name for name in tensors)


def boxes_from_labels(labels: np.ndarray) -> list[Boxes]:
    """Labels ``(N, K, 5)``, x1, y1, x2, y2, class, as boxes; a class below 0 fills up images that have fewer."""
    boxes = []
    for image in labels.astype(np.float64):
        rows = image[image[:, 4] >= 0]
        boxes.append(Boxes(rows[:, :4], np.ones(len(rows)), rows[:, 4].astype(np.int64)))
    return boxes


def match_boxes(detected: Boxes, truths: Boxes) -> Matches:
    """Every box found, best first, takes the true box of its class that it overlaps most and that is still free."""
    iou = box_iou(detected.corners, truths.corners)
    iou[detected.classes[:, None] != truths.classes[None, :]] = -1.0
    hits = np.zeros((len(detected.scores), len(IOU_THRESHOLDS)), np.bool_)
    for column, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(truths.scores), np.bool_)
        for row in np.flatnonzero(iou.max(axis=1, initial=-1.0) >= threshold).tolist():
            best = int(np.argmax(np.where(free, iou[row], -1.0)))
            if free[best] and iou[row, best] >= threshold:
                free[best], hits[row, column] = False, True
    return Matches(detected.scores, detected.classes, hits, truths.classes)


def count_matches(image: Matches, column: int) -> tuple[int, int, int]:
    """Boxes found and true, found only, and true only, at the overlap ``column`` of :data:`IOU_THRESHOLDS`."""
    hits = int(image.hits[:, column].sum())
    return hits, len(image.scores) - hits, len(image.truths) - hits


def average_precision(images: Sequence[Matches], max_iou: float = 1.0) -> float:
    """COCO's AP: precision averaged over recall, overlaps and the classes that occur; NaN where nothing is true.

    Args:
        images: The matches of each image.
        max_iou: Overlaps of :data:`IOU_THRESHOLDS` beyond this are left out.
    """
    scores = np.concatenate([image.scores for image in images])
    classes = np.concatenate([image.classes for image in images])
    hits = np.concatenate([image.hits for image in images])
    true_classes, counts = np.unique(np.concatenate([image.truths for image in images]), return_counts=True)
    if not len(true_classes):
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    classes, hits = classes[order], hits[order][:, max_iou + 1e-9 > IOU_THRESHOLDS]
    by_class = zip(true_classes, counts, strict=True)
    return float(np.mean([_interpolate_precision(hits[classes == c], int(n)) for c, n in by_class]))


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes by their corners, (p, 4) and (q, 4) → (p, q)."""
    wide, high = (
        np.clip(
            np.minimum(a[:, None, side + 2], b[None, :, side + 2]) - np.maximum(a[:, None, side], b[None, :, side]), 0, None
        )
        for side in (0, 1)
    )
    common = wide * high
    area_a, area_b = (np.clip(x[:, 2] - x[:, 0], 0, None) * np.clip(x[:, 3] - x[:, 1], 0, None) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _interpolate_precision(hits: np.ndarray, truths: int) -> float:
    """The mean over overlaps of the interpolated precision; ``hits`` (k, overlaps), best first."""
    true_positives = hits.cumsum(axis=0)
    precision = true_positives / np.arange(1, len(hits) + 1)[:, None]
    # What is reached at a recall is the best precision at that recall or beyond.
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    precisions = []
    for column in range(hits.shape[1]):
        place = np.searchsorted(true_positives[:, column] / truths, _RECALL_LEVELS - 1e-12)
        precisions.append(np.append(envelope[:, column], 0.0)[place].mean())
    return float(np.mean(precisions))


def _read_separate_tensors(tensors: Mapping[str, np.ndarray], corners: str, n: int, min_score: float) -> list[Boxes]:
    found = tensors[corners]
    boxes = as_rows(corners, found if found.ndim == 3 else found[None], n)
    others = {
        name: one
        for name, values in tensors.items()
        for one in (*[values[None]] * (n == 1), values)  # of one sample also without the first axis
        if name != corners and one.ndim in (2, 3) and len(one) == n and boxes.shape[1] in one.shape[1:]
    }
    scores = _pick_tensor(others, "score", lambda v: v.dtype.kind == "f")
    if scores is None or boxes.ndim != 3:
        shapes = ", ".join(f"{name} {v.shape}" for name, v in tensors.items())
        message = f"metric ap: boxes {corners} have not as many scores beside them: {shapes}"
        raise UsageError(message, hint=f"expected {_EXPECTED_FORMATS}")
    values = others[scores]
    if values.ndim == 3:
        by_class = drop_background(values if values.shape[1] == boxes.shape[1] else values.transpose(0, 2, 1))
        return [
            _suppress_non_maxima(b, s, centered=False, min_score=min_score) for b, s in zip(boxes, by_class, strict=True)
        ]
    classes = _pick_tensor(others, ("class", "label"), lambda v: v.shape == values.shape and v is not values)
    class_ids = others[classes] if classes is not None else np.zeros(values.shape)
    return [_sort_boxes(b, s, k) for b, s, k in zip(boxes, values, class_ids, strict=True)]


def drop_background(scores: np.ndarray) -> np.ndarray:
    """Scores (n, K, C) without the class that says "nothing here": of shares of 1, the outer one most boxes belong to."""
    if scores.shape[2] < 2 or not scores.size or not are_probabilities(scores):
        return scores
    first, last = (float(np.median(scores[..., column])) for column in (0, -1))
    if max(first, last) <= 0.5:
        return scores
    return scores[..., 1:] if first > last else scores[..., :-1]


def _pick_tensor(tensors: Mapping[str, np.ndarray], words: str | tuple[str, ...], fits: Any) -> str | None:
    """The tensor that ``fits``, by preference one whose name says so."""
    fitting = [name for name, values in tensors.items() if fits(values)]
    words = (words,) if isinstance(words, str) else words
    return next((name for name in fitting if any(word in name.lower() for word in words)), fitting[0] if fitting else None)


def is_box_list(tensor: np.ndarray) -> bool:
    """Whether the rows of six in ``tensor`` are x1, y1, x2, y2, a score, and a class, which is a whole number."""
    scores, classes = tensor[..., 4], tensor[..., 5]
    # Quantised outputs miss whole numbers by a little.
    return bool((np.abs(classes - np.round(classes)) < 0.05).all() and (scores >= -1).all() and (scores <= 1 + 1e-3).all())


def _sort_boxes(corners: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> Boxes:
    valid = np.flatnonzero(np.isfinite(corners).all(axis=1) & (scores > 0) & np.isfinite(classes))
    order = valid[np.argsort(-scores[valid], kind="stable")]
    class_ids = np.round(classes[order].astype(np.float64)).astype(np.int64)
    return Boxes(corners[order].astype(np.float64), scores[order].astype(np.float64), class_ids)


def _suppress_non_maxima(
    boxes: np.ndarray, scores: np.ndarray, *, centered: bool = True, min_score: float = MIN_SCORE
) -> Boxes:
    """The best of overlapping candidates (greedy non-maximum suppression, class by class), at most
    :data:`MAX_DETECTIONS`.
    """
    if not scores.size:
        return Boxes.none()
    best = np.nan_to_num(scores).max(axis=1)
    candidates = np.flatnonzero((best >= min_score) & np.isfinite(boxes).all(axis=1))
    candidates = candidates[np.argsort(-best[candidates], kind="stable")]
    corners, classes = boxes[candidates].astype(np.float64), scores[candidates].argmax(axis=1)
    if centered:
        corners = np.concatenate([corners[:, :2] - corners[:, 2:] / 2, corners[:, :2] + corners[:, 2:] / 2], axis=1)
    alive = np.arange(len(candidates))
    chosen: list[int] = []
    while len(alive) and len(chosen) < MAX_DETECTIONS:
        first, alive = int(alive[0]), alive[1:]
        chosen.append(first)
        overlaps = box_iou(corners[first : first + 1], corners[alive])[0] > MAX_NMS_IOU
        alive = alive[~(overlaps & (classes[alive] == classes[first]))]
    return _sort_boxes(corners[chosen], best[candidates][chosen], classes[chosen])
