"""Where in the image the cells of a detector's head lie, so that those of one object are known to be neighbors.

Maps say it by their axes. In a list (N, K, C) the grids of several strides stand one after the other, row by row: which
grids give just ``K`` cells is known, and of those the one is taken whose neighbors are most alike, for networks are smooth
in space.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Anchors at a place, strides one after the other, and how many times longer than the other a side may be.
MAX_ANCHORS, MAX_LEVELS, MAX_ASPECT = 9, 5, 3.0
#: Squared differences of neighbors, of those of any two cells: beyond this there is no grid.
MAX_NEIGHBOR_DIFFERENCE = 0.4
#: Samples and channels that neighbors are compared on.
_MAX_SAMPLES, _MAX_CHANNELS = 4, 12


@dataclass(frozen=True)
class Places:
    """The centers of cells (K, 2) and the distance of two beside each other (K, 2), down and across, of sides of 1."""

    centers: np.ndarray
    spacing: np.ndarray

    @classmethod
    def of_grid(cls, height: int, width: int) -> Places:
        """Of one grid, row by row."""
        down, across = np.divmod(np.arange(height * width), width)
        centers = np.stack([(down + 0.5) / height, (across + 0.5) / width], axis=1)
        return cls(centers, np.broadcast_to([1 / height, 1 / width], centers.shape))

    @classmethod
    def join(cls, parts: Sequence[Places]) -> Places:
        """One after the other."""
        return cls(np.concatenate([p.centers for p in parts]), np.concatenate([p.spacing for p in parts]))

    def pick(self, cells: np.ndarray) -> Places:
        """Those of ``cells``, indices or bool (K,)."""
        return Places(self.centers[cells], self.spacing[cells])

    def are_neighbors(self) -> np.ndarray:
        """Which cells lie beside or on each other, by the wider of their grids; bool (K, K)."""
        near = np.ones((len(self.centers), len(self.centers)), np.bool_)
        for axis in (0, 1):
            distance = np.abs(self.centers[:, None, axis] - self.centers[None, :, axis])
            near &= distance <= 1.5 * np.maximum(self.spacing[:, None, axis], self.spacing[None, :, axis])
        return near


@dataclass(frozen=True)
class _Pyramid:
    """Grids one after the other, (height, width) each, with so many anchors side by side at each place."""

    grids: tuple[tuple[int, int], ...]
    anchors: int

    def locate(self) -> Places:
        grids = [Places.of_grid(height, width) for height, width in self.grids]
        return Places.join([grid.pick(np.repeat(np.arange(len(grid.centers)), self.anchors)) for grid in grids])

    def list_runs(self) -> list[tuple[int, int, int]]:
        """The cells of each grid, (start, stop), and how far apart those above each other are."""
        runs, start = [], 0
        for height, width in self.grids:
            stop = start + height * width * self.anchors
            runs.append((start, stop, width * self.anchors))
            start = stop
        return runs


def has_channels_last(shape: Sequence[int]) -> bool:
    """Whether a map's shape is (N, H, W, C), not (N, C, H, W): H and W are the only square."""
    return shape[1] == shape[2] != shape[3]


def locate_cells(shape: Sequence[int], channels: int, values: np.ndarray) -> Places:
    """Where the cells of one head lie.

    Args:
        shape: Of its tensor, (N, K, C), (N, C, K), (N, C, H, W), (N, H, W, C), (N, A, H, W, C) or (N, H, W, A, C).
        channels: Of one cell.
        values: What the original's cells hold, (N, K, channels).
    """
    count = values.shape[1]
    if len(shape) == 4:
        height, width = shape[1:3] if has_channels_last(shape) else shape[2:4]
        return _Pyramid(((height, width),), count // (height * width)).locate()
    if len(shape) == 5:
        if shape[3] <= MAX_ANCHORS < min(shape[1:3]):
            return _Pyramid(((shape[1], shape[2]),), shape[3]).locate()
        return Places.join([Places.of_grid(shape[2], shape[3])] * shape[1])
    pyramid = _find_pyramid(values)
    return Places.of_grid(1, count) if pyramid is None else pyramid.locate()


def _find_pyramid(values: np.ndarray) -> _Pyramid | None:
    """The grids whose neighbors are most alike in ``values`` (N, K, C), or None where none are."""
    flat = values[:_MAX_SAMPLES, :, :: -(-values.shape[2] // _MAX_CHANNELS)].astype(np.float64)
    spread = flat.std(axis=(0, 1))
    usable = np.isfinite(spread) & (spread > 0)
    if not usable.any():
        return None
    flat = flat[..., usable] / spread[usable]

    @functools.cache
    def sum_differences(lag: int) -> np.ndarray:
        squares = np.square(flat[:, lag:] - flat[:, :-lag]).mean(axis=(0, 2)) / 2
        return np.concatenate([[0.0], np.cumsum(squares)])

    def measure(pyramid: _Pyramid) -> float:
        """The mean difference of neighbors, down or across, whichever is more."""
        means = []
        for down in (True, False):
            total, pairs = 0.0, 0
            for start, stop, lag in pyramid.list_runs():
                lag = lag if down else pyramid.anchors
                if stop - lag > start:
                    sums = sum_differences(lag)
                    total, pairs = total + float(sums[stop - lag] - sums[start]), pairs + stop - lag - start
            means.append(total / pairs if pairs else 1.0)
        return max(means)

    best = min(_list_pyramids(values.shape[1]), key=measure, default=None)
    return best if best is not None and measure(best) <= MAX_NEIGHBOR_DIFFERENCE else None


@functools.lru_cache(maxsize=16)
def _list_pyramids(count: int) -> tuple[_Pyramid, ...]:
    """All that have ``count`` cells, each grid half as wide and high as the one before, from either end."""
    found = []
    for anchors, levels in itertools.product(range(1, MAX_ANCHORS + 1), range(1, MAX_LEVELS + 1)):
        places = count // anchors
        if count % anchors:
            continue
        for height in range(2, int((MAX_ASPECT * places) ** 0.5) + 1):
            widest = min(int(MAX_ASPECT * height), places // height)
            for width in range(widest, max(1, int(height / MAX_ASPECT)) - 1, -1):
                grids = tuple((-(-height >> level), -(-width >> level)) for level in range(levels))
                total = sum(h * w for h, w in grids)
                if total == places and width > 1:
                    found += [_Pyramid(order, anchors) for order in sorted({grids, grids[::-1]}, reverse=True)]
                if total <= places:
                    break
    return tuple(found)
