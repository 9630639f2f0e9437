"""Detection: boxes matched by their overlap, and the average precision of that. Arrays in, arrays out.

What counts is which boxes a model finds, not in which order or how many candidates it lists. So outputs are first read
as boxes (:func:`read`), whatever the export calls them:

- several outputs: boxes ``(N, K, 4)``, scores ``(N, K)`` with classes ``(N, K)``, or scores a class ``(N, K, C)``; of one
  sample also without the first axis (torchvision, TensorFlow, SSD);
- one output ``(N, K, 6)``: x1, y1, x2, y2, score, class, as exports with suppression inside give it;
- one output ``(N, 4 + C, K)``: centre, size and a score a class for every anchor (YOLOv8 and later);
- one output ``(N, K, 5 + C)``: the same with an objectness before the scores (YOLOv5, YOLOX).

The last two still hold every candidate, so the best of those that overlap are kept, class by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.errors import UsageError

#: Overlaps at which boxes count as matched: the mean over these is COCO's AP.
OVERLAPS = np.linspace(0.5, 0.95, 10)
#: Of candidates: the score from which they are looked at, the overlap above which the weaker goes, and how many stay.
LEAST_SCORE, SUPPRESSED, MOST = 0.05, 0.5, 300
#: Recall levels that precision is averaged over (COCO).
_RECALLS = np.linspace(0, 1, 101)
_FORMS = "boxes (N, K, 4) with scores and classes, (N, K, 6), (N, 4 + C, K) or (N, K, 5 + C)"


@dataclass(frozen=True)
class Boxes:
    """What was found in one image: corners float64 (k, 4), scores (k,) and classes int64 (k,), best first."""

    corners: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def above(self, score: float) -> Boxes:
        """Those of at least ``score``."""
        kept = self.scores >= score
        return Boxes(self.corners[kept], self.scores[kept], self.classes[kept])


@dataclass(frozen=True)
class Matches:
    """One image judged.

    Attributes:
        scores: Of the boxes found, shape (k,), descending.
        classes: Of them, int64 (k,).
        hits: Whether each matches a true box, at each of :data:`OVERLAPS`; bool (k, 10).
        truths: The classes of the true boxes, int64 (t,).
    """

    scores: np.ndarray
    classes: np.ndarray
    hits: np.ndarray
    truths: np.ndarray


def read(outputs: Mapping[str, Any], n: int) -> list[Boxes]:
    """The boxes in each of ``n`` images.

    Raises:
        UsageError: Nothing in the outputs looks like boxes.
    """
    tensors = {name: v for name, v in outputs.items() if isinstance(v, np.ndarray) and v.dtype.kind in "fiu"}
    corners = _pick(tensors, "box", lambda v: v.ndim in (2, 3) and v.shape[-1] == 4)
    if len(tensors) > 1 and corners is not None:
        return _separate(tensors, corners, n)
    whole = next((v for v in tensors.values() if v.ndim == 3 and len(v) == n and v.dtype.kind == "f"), None)
    if whole is not None and whole.shape[2] == 6 and _listed(whole):
        return [_sorted(one[:, :4], one[:, 4], one[:, 5]) for one in whole]
    if whole is None or min(whole.shape[1:]) < 5:
        shapes = ", ".join(f"{name} {v.shape}" for name, v in tensors.items())
        raise UsageError(f"metric ap: no boxes in the outputs {shapes}", hint=f"expected {_FORMS}")
    if whole.shape[1] < whole.shape[2]:
        return [_suppressed(one[:, :4], one[:, 4:]) for one in whole.transpose(0, 2, 1)]
    return [_suppressed(one[:, :4], one[:, 4:5] * one[:, 5:]) for one in whole]


def named(outputs: Mapping[str, Any]) -> bool:
    """Whether the outputs are called boxes and scores, so that there is no doubt what they are."""
    tensors = {name.lower(): v for name, v in outputs.items() if isinstance(v, np.ndarray)}
    boxes = any("box" in name and v.ndim in (2, 3) and v.shape[-1] == 4 for name, v in tensors.items())
    return boxes and any("score" in name for name in tensors)


def truths_of(labels: np.ndarray) -> list[Boxes]:
    """Labels ``(N, K, 5)``, x1, y1, x2, y2, class, as boxes; a class below 0 fills up images that have fewer."""
    made = []
    for one in labels.astype(np.float64):
        kept = one[one[:, 4] >= 0]
        made.append(Boxes(kept[:, :4], np.ones(len(kept)), kept[:, 4].astype(np.int64)))
    return made


def match(found: Boxes, truths: Boxes) -> Matches:
    """Every box found, best first, takes the true box of its class that it overlaps most and that is still free."""
    overlap = overlaps(found.corners, truths.corners)
    overlap[found.classes[:, None] != truths.classes[None, :]] = -1.0
    hits = np.zeros((len(found.scores), len(OVERLAPS)), np.bool_)
    for column, least in enumerate(OVERLAPS):
        free = np.ones(len(truths.scores), np.bool_)
        for row in np.flatnonzero(overlap.max(axis=1, initial=-1.0) >= least).tolist():
            best = int(np.argmax(np.where(free, overlap[row], -1.0)))
            if free[best] and overlap[row, best] >= least:
                free[best], hits[row, column] = False, True
    return Matches(found.scores, found.classes, hits, truths.classes)


def average_precision(images: Sequence[Matches]) -> float:
    """COCO's AP: precision averaged over recall, overlaps and the classes that occur; NaN where nothing is true."""
    scores = np.concatenate([one.scores for one in images])
    classes = np.concatenate([one.classes for one in images])
    hits = np.concatenate([one.hits for one in images])
    known, counts = np.unique(np.concatenate([one.truths for one in images]), return_counts=True)
    if not len(known):
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    classes, hits = classes[order], hits[order]
    return float(np.mean([_precision(hits[classes == c], int(n)) for c, n in zip(known, counts, strict=True)]))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes by their corners, (p, 4) and (q, 4) → (p, q)."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    common = np.clip(sides, 0, None).prod(axis=2)
    area_a, area_b = (np.clip(x[:, 2:] - x[:, :2], 0, None).prod(axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None, :] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _precision(hits: np.ndarray, truths: int) -> float:
    """The mean over overlaps of the interpolated precision; ``hits`` (k, 10), best first."""
    right = hits.cumsum(axis=0)
    precision = right / np.arange(1, len(hits) + 1)[:, None]
    # What is reached at a recall is the best precision at that recall or beyond.
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = []
    for column in range(hits.shape[1]):
        place = np.searchsorted(right[:, column] / truths, _RECALLS - 1e-12)
        reached.append(np.append(envelope[:, column], 0.0)[place].mean())
    return float(np.mean(reached))


def _separate(tensors: Mapping[str, np.ndarray], corners: str, n: int) -> list[Boxes]:
    def rows(values: np.ndarray, rank: int) -> np.ndarray:
        return values[None] if n == 1 and values.ndim < rank else values

    boxes = rows(tensors[corners], 3)
    count = boxes.shape[1]
    rest = {name: rows(v, 2) for name, v in tensors.items() if name != corners}
    scores = _pick(rest, "score", lambda v: v.dtype.kind == "f" and count in v.shape[1:])
    if scores is None:
        raise UsageError(f"metric ap: boxes {corners} have no scores beside them", hint=f"expected {_FORMS}")
    values = rest[scores]
    if values.ndim == 3:
        by_class = values if values.shape[1] == count else values.transpose(0, 2, 1)
        return [_suppressed(b, s, centred=False) for b, s in zip(boxes, by_class, strict=True)]
    classes = _pick(rest, ("class", "label"), lambda v: v.shape == values.shape and v is not values)
    kinds = rest[classes] if classes is not None else np.zeros(values.shape)
    return [_sorted(b, s, k) for b, s, k in zip(boxes, values, kinds, strict=True)]


def _pick(tensors: Mapping[str, np.ndarray], words: str | tuple[str, ...], fits: Any) -> str | None:
    """The tensor that ``fits``, by preference one whose name says so."""
    good = [name for name, values in tensors.items() if fits(values)]
    words = (words,) if isinstance(words, str) else words
    return next((name for name in good if any(word in name.lower() for word in words)), good[0] if good else None)


def _listed(whole: np.ndarray) -> bool:
    scores, classes = whole[..., 4], whole[..., 5]
    # Quantised outputs miss whole numbers by a little.
    return bool((np.abs(classes - np.round(classes)) < 0.05).all() and (scores >= -1).all() and (scores <= 1 + 1e-3).all())


def _sorted(corners: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> Boxes:
    kept = np.flatnonzero(np.isfinite(corners).all(axis=1) & (scores > 0))
    order = kept[np.argsort(-scores[kept], kind="stable")]
    kinds = np.round(classes[order].astype(np.float64)).astype(np.int64)
    return Boxes(corners[order].astype(np.float64), scores[order].astype(np.float64), kinds)


def _suppressed(places: np.ndarray, scores: np.ndarray, *, centred: bool = True) -> Boxes:
    """The best of overlapping candidates (greedy non-maximum suppression, class by class), at most :data:`MOST`."""
    best = np.nan_to_num(scores).max(axis=1)
    kept = np.flatnonzero((best >= LEAST_SCORE) & np.isfinite(places).all(axis=1))
    kept = kept[np.argsort(-best[kept], kind="stable")]
    corners, classes = places[kept].astype(np.float64), scores[kept].argmax(axis=1)
    if centred:
        corners = np.concatenate([corners[:, :2] - corners[:, 2:] / 2, corners[:, :2] + corners[:, 2:] / 2], axis=1)
    alive = np.ones(len(kept), np.bool_)
    chosen: list[int] = []
    for row in range(len(kept)):
        if alive[row]:
            chosen.append(row)
            same = classes == classes[row]
            alive[same] &= overlaps(corners[row : row + 1], corners[same])[0] <= SUPPRESSED
        if len(chosen) == MOST:
            break
    return _sorted(corners[chosen], best[kept][chosen], classes[chosen])
