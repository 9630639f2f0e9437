"""Heads of detectors before they are decoded: which cells fire, for which class, and what those say of their box.

Every detector has its own way from a grid to boxes, but in all of them a cell (a place of a grid, or an anchor there) has
scores, near 0 nearly everywhere, and numbers that shift and size its box, which are not. So channels are told apart by
what the original's values are, whatever their order: one tensor (N, K, 5 + C), (N, 4 + C, K) or (N, A (5 + C), H, W),
or several of the same cells (cls_8, obj_8, bbox_8).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from onnxslim.validation.metrics.classification import are_probabilities
from onnxslim.validation.metrics.detection import MIN_TRUSTED_SCORE
from onnxslim.validation.metrics.undecoded.grids import MAX_ANCHORS, Places, has_channels_last, locate_cells

#: A score is below this in more than half of the cells: a grid shows few objects.
MAX_MEDIAN_SCORE = 0.1
#: Cells that a median is taken over, at most.
MAX_CELLS_SORTED = 4096
#: What has more than this share of most cells is the background.
MAX_BACKGROUND_SHARE = 0.5
#: Fewer channels than this are no anchor with a box and a score.
MIN_ANCHOR_CHANNELS = 5
#: Tensors called so hold boxes, even where their values lie between 0 and 1.
_BOX_WORDS = ("box", "reg", "loc", "off", "kps", "landm", "point")


@dataclass(frozen=True)
class HeadLayout:
    """What the channels of one grid are.

    Attributes:
        names: Outputs of the same cells, whose channels are joined in this order.
        channels: Channels of an anchor; a cell of several anchors counts as several.
        scores: Which of them are scores of classes, bool (channels,).
        boxes: Which of them place and size a box.
        objectness: Which says that there is an object at all, or None.
        are_logits: Scores are logits, not shares.
    """

    names: tuple[str, ...]
    channels: int
    scores: np.ndarray
    boxes: np.ndarray
    objectness: int | None
    are_logits: bool

    def locate(self, outputs: Mapping[str, Any]) -> Places:
        """Where the cells lie, by the original's outputs."""
        tensors = [outputs[name] for name in self.names]
        values = join_tensors(tensors)
        return locate_cells(tensors[0].shape, self.channels, values.reshape(len(values), -1, self.channels))

    def read(self, outputs: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Score (n, K), class (n, K) and box numbers (n, K, D) of each cell; NaN is no score."""
        values = join_tensors([outputs[name] for name in self.names])
        values = values.reshape(len(values), -1, self.channels)
        scores = values[..., self.scores]
        share = scipy.special.expit(scores) if self.are_logits else scores
        best = np.nan_to_num(share.max(axis=-1), nan=0.0)
        if self.objectness is not None:
            presence = values[..., self.objectness]
            best = best * np.nan_to_num(scipy.special.expit(presence) if self.are_logits else presence, nan=0.0)
        return best, share.argmax(axis=-1), values[..., self.boxes].astype(np.float64)


def as_cells(values: np.ndarray) -> np.ndarray:
    """A head's tensor as (n, cells, channels).

    Of three axes the longer one counts cells; of four (N, C, H, W), or (N, H, W, C) where that is the only square; of
    five (N, A, H, W, C).
    """
    n = len(values)
    if values.ndim == 3:
        cells = values if values.shape[1] >= values.shape[2] else values.transpose(0, 2, 1)
    elif values.ndim == 4:
        cells = values if has_channels_last(values.shape) else values.transpose(0, 2, 3, 1)
    else:
        cells = values
    return np.asarray(cells.reshape(n, math.prod(cells.shape[1:-1]), cells.shape[-1]))


def join_tensors(tensors: Sequence[np.ndarray]) -> np.ndarray:
    """The channels of the same cells side by side, (n, cells, channels)."""
    return np.concatenate([as_cells(values) for values in tensors], axis=2)


def find_heads(outputs: Mapping[str, Any], n: int) -> list[HeadLayout]:
    """The heads among the original's outputs for ``n`` samples; empty where none looks like one."""
    groups: dict[int, list[str]] = {}
    for name, values in outputs.items():
        has_cells = isinstance(values, np.ndarray) and values.ndim in (3, 4, 5) and values.size > 0
        if has_cells and values.dtype.kind == "f" and len(values) == n:
            groups.setdefault(as_cells(values).shape[1], []).append(name)
    layouts = [_find_layout(tuple(names), outputs) for names in groups.values()]
    return [layout for layout in layouts if layout is not None]


def _find_layout(names: tuple[str, ...], outputs: Mapping[str, Any]) -> HeadLayout | None:
    values = join_tensors([outputs[name] for name in names])
    values = values.reshape(-1, values.shape[-1])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        return None
    is_share = (values.min(axis=0) >= -1e-3) & (values.max(axis=0) <= 1 + 1e-3)
    median = np.median(values[:: -(-len(values) // MAX_CELLS_SORTED)], axis=0)
    is_box = np.concatenate(
        [np.full(as_cells(outputs[name]).shape[-1], any(word in name.lower() for word in _BOX_WORDS)) for name in names]
    )
    sparse = is_share & (median < MAX_MEDIAN_SCORE) & ~is_box
    are_logits = not sparse.any()
    if are_logits:
        sparse = (scipy.special.expit(median) < MAX_MEDIAN_SCORE) & ~is_box
    if not sparse.any():
        return None
    channels = _find_period(sparse)
    scores = sparse[:channels].copy()
    values = values.reshape(-1, channels)
    if not are_logits:
        # beside an objectness a class is only asked for where there is an object, and may be anything elsewhere
        behind = np.arange(channels) > int(np.argmax(scores))
        alone = len(names) > 1
        scores |= is_share[:channels] & ~is_box[:channels] & (behind | alone)
    boxes = ~scores
    objectness = _find_objectness(values, scores, sparse[:channels], are_logits=are_logits)
    if objectness is not None:
        scores[objectness] = False
    elif not are_logits and scores.sum() > 1 and are_probabilities(values[:, scores]):
        # shares of 1: what most cells belong to is the background
        scores &= np.median(values[:: -(-len(values) // MAX_CELLS_SORTED)], axis=0) <= MAX_BACKGROUND_SHARE
    return HeadLayout(names, channels, scores, boxes, objectness, are_logits)


def _find_period(sparse: np.ndarray) -> int:
    """The channels of one anchor: the least part that repeats and holds both scores and others."""
    count = len(sparse)
    for anchors in range(MAX_ANCHORS, 1, -1):
        channels = count // anchors
        if count % anchors or channels < MIN_ANCHOR_CHANNELS:
            continue
        parts = sparse.reshape(anchors, channels)
        if (parts == parts[0]).all() and parts[0].any() and not parts[0].all():
            return channels
    return count


def _find_objectness(values: np.ndarray, scores: np.ndarray, sparse: np.ndarray, *, are_logits: bool) -> int | None:
    """The first sparse score, if where it is high the best of the others is high too: classes exclude each other."""
    first = int(np.argmax(sparse))
    others = scores.copy()
    others[first] = False
    if not others.any():
        return None
    share = scipy.special.expit(values) if are_logits else values
    fires = np.flatnonzero(share[:, first] >= MIN_TRUSTED_SCORE)
    if not len(fires):
        fires = np.argsort(-share[:, first], kind="stable")[:MIN_ANCHOR_CHANNELS]
    best = np.median(share[fires][:, others].max(axis=1))
    return first if best >= MIN_TRUSTED_SCORE else None
