"""What ``detector.py``'s pictures are judged by: COCO's AP against the boxes that were drawn, before and after.

    python benchmarks/reach.py FOLDER/manifest.json OUT.jsonl --judges benchmarks/judging/drawn_boxes.py

``judge("drawn:LABELS.npz", originals, results)`` decodes what both models give, in corners or as the heads of two levels,
suppresses what overlaps, and has pycocotools count. ``ap_kept`` is what is left of the original's AP.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Candidates below the score are nothing, of two of a class that overlap more the weaker goes, and so many stay.
MIN_SCORE, MAX_IOU, MAX_BOXES = 0.05, 0.6, 100

#: Corners (k, 4) in pixels, scores (k,), classes (k,), best first.
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


def decode(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (cells, 4) and scores (cells, classes) of one picture, from either form of the detector's outputs."""
    if "boxes" in outputs:
        return outputs["boxes"][0].astype(np.float64), outputs["scores"][0]
    corners, scores = [], []
    for stride in sorted(int(name.split("_")[1]) for name in outputs if name.startswith("classes_")):
        shares, distances = outputs[f"classes_{stride}"][0], outputs[f"distances_{stride}"][0]
        rows, columns = (np.indices(shares.shape[1:]) + 0.5) * stride
        left, top, right, bottom = np.exp(distances.astype(np.float64)) * stride
        levels = (columns - left, rows - top, columns + right, rows + bottom)
        corners.append(np.stack(levels, -1).reshape(-1, 4))
        scores.append(shares.reshape(len(shares), -1).T)
    return np.concatenate(corners), np.concatenate(scores)


def suppress(corners: np.ndarray, scores: np.ndarray) -> Found:
    """The best of those that overlap, class by class."""
    best, classes = scores.max(1), scores.argmax(1)
    order = np.argsort(-best, kind="stable")
    order = order[(best[order] >= MIN_SCORE) & np.isfinite(corners[order]).all(1)]
    kept: list[int] = []
    while len(order) and len(kept) < MAX_BOXES:
        first, order = int(order[0]), order[1:]
        kept.append(first)
        common = np.minimum(corners[first, 2:], corners[order, 2:]) - np.maximum(corners[first, :2], corners[order, :2])
        shared = np.clip(common, 0, None).prod(1)
        areas = np.clip(corners[:, 2:] - corners[:, :2], 0, None).prod(1)
        iou = shared / np.maximum(areas[first] + areas[order] - shared, 1e-9)
        order = order[(iou <= MAX_IOU) | (classes[order] != classes[first])]
    return corners[kept], best[kept], classes[kept]


def measure_ap(found: Sequence[Found], labels: np.ndarray) -> float:
    """COCO's AP of what was found in each picture; ``labels`` (n, shapes, 5): x1, y1, x2, y2, class, below 0 for none."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def to_entry(image: int, corners: np.ndarray, kind: float, **more: Any) -> dict[str, Any]:
        x, y, right, bottom = map(float, corners)
        return {"image_id": image, "category_id": int(kind), "bbox": [x, y, right - x, bottom - y], **more}

    rows = [(image, row) for image, picture in enumerate(labels) for row in picture if row[4] >= 0]
    truths = [
        to_entry(image, row[:4], row[4], id=number, iscrowd=0, area=float((row[2] - row[0]) * (row[3] - row[1])))
        for number, (image, row) in enumerate(rows, start=1)
    ]
    entries = [
        to_entry(image, corners, kind, score=float(score))
        for image, picture in enumerate(found)
        for corners, score, kind in zip(*picture, strict=True)
    ]
    if not entries:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every stage
        truth = COCO()
        categories = [{"id": int(kind)} for kind in np.unique(labels[..., 4]) if kind >= 0]
        truth.dataset = {"images": [{"id": i} for i in range(len(labels))], "annotations": truths, "categories": categories}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(entries), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def judge(spec: str, originals: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """AP of both, and what is kept of the original's; ``spec``: ``drawn:`` and the file with the labels."""
    _, path = spec.split(":", 1)
    with np.load(path, allow_pickle=False) as file:
        labels = file["labels"][: len(originals)]
    before, after = (measure_ap([suppress(*decode(each)) for each in side], labels) for side in (originals, results))
    return {"ap": [round(before, 4), round(after, 4)], "ap_kept": round(after / max(before, 1e-9), 4)}
