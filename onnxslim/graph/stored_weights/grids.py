"""What integer codes stand for, and the codes of given weights: arrays in, arrays out.

Specification: DequantizeLinear in https://github.com/onnx/onnx/blob/main/docs/Operators.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: A scale below this is as good as zero: 1 / scale must stay finite and normal in float32.
MIN_SCALE = np.float32(1e-30)
#: Weights are on a grid when none is further from it than this, in steps: float32 rounds a product of code and scale so.
GRID_TOLERANCE = 1e-4
#: Weights of a channel that are looked at first: few arbitrary numbers lie on a grid by chance.
_PROBE_SIZE = 3
#: Channels that are probed for all grids at a time, which is what bounds the memory.
_PROBE_ROWS = 4096


@dataclass(frozen=True)
class ScaleLayout:
    """Which weights share a scale.

    Attributes:
        axis: The axis that scales go along; None where all weights share one.
        block_size: Weights along that axis that share a scale; None where all of an index do.
    """

    axis: int | None = None
    block_size: int | None = None

    def to_rows(self, array: np.ndarray) -> np.ndarray:
        """``array`` with a row for each scale, (scales, weights); a last block that is cut short is filled with zeros."""
        if self.axis is None:
            return array.reshape(1, -1)
        if self.block_size is None:
            return np.moveaxis(array, self.axis, 0).reshape(array.shape[self.axis], -1)
        lines = np.moveaxis(array, self.axis, -1)
        padding = -lines.shape[-1] % self.block_size
        return np.pad(lines, [(0, 0)] * (lines.ndim - 1) + [(0, padding)]).reshape(-1, self.block_size)

    def from_rows(self, rows: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """What :meth:`to_rows` made of an array of ``shape``, back in that shape."""
        if self.axis is None:
            return rows.reshape(shape)
        others = [size for axis, size in enumerate(shape) if axis != self.axis % len(shape)]
        size = shape[self.axis]
        if self.block_size is None:
            return np.moveaxis(rows.reshape(size, *others), 0, self.axis)
        lines = rows.reshape(*others, -1)[..., :size]
        return np.moveaxis(lines, -1, self.axis)

    def shape_scales(self, scales: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Scales, one a row, as DequantizeLinear takes them for codes of ``shape``."""
        if self.axis is None:
            return scales.reshape(())
        if self.block_size is None:
            return scales
        others = [size for axis, size in enumerate(shape) if axis != self.axis % len(shape)]
        return np.moveaxis(scales.reshape(*others, -1), -1, self.axis)

    def spread(self, parameters: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Scales or zero points as :meth:`shape_scales` gives them, so that they broadcast over codes of ``shape``."""
        if self.axis is None:
            return parameters.reshape(())
        if self.block_size is None:
            return parameters.reshape([-1 if index == self.axis % len(shape) else 1 for index in range(len(shape))])
        repeated = np.repeat(parameters, self.block_size, axis=self.axis)
        return repeated[tuple(slice(size) for size in shape)]


def dequantize(codes: np.ndarray, scale: np.ndarray, zero_point: np.ndarray | None, layout: ScaleLayout) -> np.ndarray:
    """What integer ``codes`` stand for, in the type of ``scale``; a ``zero_point`` of None is 0."""
    wide = codes.astype(np.float32)
    if zero_point is not None:
        wide = wide - layout.spread(zero_point.astype(np.float32), codes.shape)
    result: np.ndarray = (wide * layout.spread(scale.astype(np.float32), codes.shape)).astype(scale.dtype)
    return result


def quantize_symmetric(
    array: np.ndarray, limit: int, layout: ScaleLayout, dtype: np.dtype[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of ``array`` from -limit to limit, float of its shape, and scales, of ``dtype`` as DequantizeLinear takes them.

    Weights that lie on a grid keep it; others get the grid that their largest fits.
    """
    rows = layout.to_rows(array).astype(np.float64)
    exact, peaks = find_exact_scales(rows, limit), np.abs(rows).max(axis=1, initial=0.0)
    scales = np.where(exact > 0, exact, peaks / limit).astype(dtype)
    scales = np.where(scales.astype(np.float32) >= MIN_SCALE, scales, np.ones((), dtype))
    codes = np.rint(rows / scales[:, None].astype(np.float64)).clip(-limit, limit)
    return layout.from_rows(codes, array.shape), layout.shape_scales(scales, array.shape)


def find_exact_scales(rows: np.ndarray, limit: int) -> np.ndarray:
    """The scale of each row whose weights are, to float rounding, whole multiples of it up to ``limit`` times.

    What was stored in integers before is stored in them again without any loss. Of the multiples that the largest weight
    may be, the greatest that fits is taken, which is the finest such grid.

    Args:
        rows: float, (rows, weights), finite.
        limit: The largest code.

    Returns:
        float64 (rows,); 0 for a row that lies on no such grid, or holds nothing but zeros.
    """
    peaks = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    scales, pending = np.zeros(len(rows)), _probe(rows, peaks, limit)
    for multiple in range(limit, 0, -1):
        if not len(pending):
            break
        candidates = peaks[pending] / multiple
        fits = _lie_on(rows[pending, :_PROBE_SIZE], candidates)
        if fits.any() and rows.shape[1] > _PROBE_SIZE:
            fits[fits] = _lie_on(rows[pending[fits]], candidates[fits])
        scales[pending[fits]], pending = candidates[fits], pending[~fits]
    return scales


def _probe(rows: np.ndarray, peaks: np.ndarray, limit: int) -> np.ndarray:
    """The rows whose first weights lie on some grid, all grids at once: of arbitrary weights hardly any."""
    found = [np.empty(0, np.int64)]
    multiples = np.arange(limit, 0, -1)
    for start in range(0, len(rows), _PROBE_ROWS):
        nonzero = start + np.flatnonzero(peaks[start : start + _PROBE_ROWS])
        steps = rows[nonzero, None, :_PROBE_SIZE] / (peaks[nonzero, None] / multiples)[..., None]
        found.append(nonzero[_are_whole(steps).any(axis=1)])
    return np.concatenate(found)


def _lie_on(rows: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return _are_whole(rows / scales[:, None])


def _are_whole(steps: np.ndarray) -> np.ndarray:
    """Whether all along the last axis are whole numbers, to float rounding."""
    result: np.ndarray = (np.abs(steps - np.rint(steps)) <= GRID_TOLERANCE).all(axis=-1)
    return result
