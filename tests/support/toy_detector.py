"""A detector without a network: objects drawn, what its cells say of them, and the boxes that a user decodes from that."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from onnxslim.validation.metrics.detection import count_matches, match_boxes, read_boxes

GRIDS, CLASSES = ((20, 24), (10, 12)), 3
#: Pixels of the image, (high, wide).
IMAGE = (160, 192)
#: Places of a few thresholds, and of the overlaps 0.5 and 0.75 among those that AP is taken over.
THRESHOLDS, COLUMNS = np.linspace(0.15, 0.6, 10), (0, 5)


def draw_cells(n: int, seed: int = 0) -> np.ndarray:
    """Logits (n, cells, 4 + 1 + classes): center from the cell's in strides, logarithms of sides in strides, objectness."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        count = rng.integers(1, 5)
        center = rng.uniform(0.12, 0.88, (count, 2)) * IMAGE
        side = np.exp(rng.uniform(np.log(18), np.log(60), (count, 2)))
        kind, strength = rng.integers(0, CLASSES, count), rng.normal(1.0, 1.6, count)
        cells = []
        for high, wide in GRIDS:
            stride = IMAGE[0] / high
            y, x = np.divmod(np.arange(high * wide), wide)
            at = (np.stack([y, x], axis=1) + 0.5) * stride
            distance = np.square((at[:, None] - center[None]) / (0.18 * side[None])).sum(axis=2)
            # objects are seen best at the stride that fits them
            logits = strength - 0.5 * distance - 1.2 * np.abs(np.log2(side.mean(axis=1) / (4 * stride)))
            nearest = logits.argmax(axis=1)
            classes = np.full((high * wide, CLASSES), -4.0)
            classes[np.arange(high * wide), kind[nearest]] = 3.0
            place = np.concatenate([(center[nearest] - at) / stride, np.log(side[nearest] / stride)], axis=1)
            presence = np.maximum(logits.max(axis=1), -7 + 0.3 * rng.normal(size=high * wide))
            cells.append(np.concatenate([place, presence[:, None], classes], axis=1))
        images.append(np.concatenate(cells))
    return np.array(images)


def draw_noise(n: int, seed: int = 1) -> np.ndarray:
    """What rounding weights does to logits, unit size: alike in cells beside each other, as they see nearly the same."""
    rng = np.random.default_rng(seed)
    parts = []
    for high, wide in GRIDS:
        noise = ndimage.gaussian_filter(rng.normal(size=(n, high, wide, 5 + CLASSES)), (0, 0.8, 0.8, 0))
        parts.append((noise / noise.std()).reshape(n, high * wide, -1))
    return np.concatenate(parts, axis=1) * np.array([0.3] * 2 + [0.1] * 2 + [1.0] * (1 + CLASSES))


def finish(logits: np.ndarray) -> np.ndarray:
    """Scores as shares."""
    return np.concatenate([logits[..., :4], special.expit(logits[..., 4:])], axis=2)


def decode(cells: np.ndarray) -> np.ndarray:
    """Center, sides in pixels, and scores, (n, cells, 5 + classes), of what :func:`finish` gives."""
    stride = np.concatenate([np.full(h * w, IMAGE[0] / h) for h, w in GRIDS])[:, None]
    at = np.concatenate([np.stack(np.divmod(np.arange(h * w), w), axis=1) for h, w in GRIDS]) + 0.5
    center, side = (at + cells[..., :2]) * stride, np.exp(cells[..., 2:4]) * stride
    return np.concatenate([center[..., ::-1], side[..., ::-1], cells[..., 4:]], axis=2)


def measure_box_f1(result: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    """F1 at overlaps of 0.5 and 0.75 of boxes decoded and suppressed, over :data:`THRESHOLDS`."""
    found, true = (read_boxes({"out": decode(cells)}, len(cells)) for cells in (result, original))
    f1 = []
    for column in COLUMNS:
        pairs = [(a.with_min_score(t), b.with_min_score(t)) for t in THRESHOLDS for a, b in zip(found, true, strict=True)]
        hits, made_up, missed = np.sum([count_matches(match_boxes(a, b), column) for a, b in pairs], axis=0)
        f1.append(float(2 * hits / (2 * hits + made_up + missed)))
    return f1[0], f1[1]
