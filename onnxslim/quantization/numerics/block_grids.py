"""Which numbers the codes of a block stand for: bits, a scale, and a zero point or none; arrays in, arrays out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

#: Shrinks of a block's range that are tried; the one with the least squared error is kept. Of four codes two are at the
#: ends, and few weights are.
_RANGE_SHRINKS = {2: np.linspace(1.0, 0.4, 16), 4: np.linspace(1.0, 0.7, 13), 8: np.ones(1)}
_MIN_SCALE = 1e-30
#: Scales are float32.
_SCALE_BYTES = 4
_SPELLING = re.compile(r"(u?)int([248]):(\d+)")


@dataclass(frozen=True)
class BlockFormat:
    """How weights are stored in blocks.

    Attributes:
        bits: 2, 4 or 8 of each code.
        block_size: Weights a block, which share a scale; a power of two from 16 on.
        has_zero_point: Whether they share a zero point too, so that a block need not be symmetric; else it is in the middle.
    """

    bits: int
    block_size: int
    has_zero_point: bool = False

    def __str__(self) -> str:
        """``int4:32``, or ``uint4:32`` with zero points."""
        return f"{'u' if self.has_zero_point else ''}int{self.bits}:{self.block_size}"

    @classmethod
    def parse(cls, text: str) -> BlockFormat | None:
        """The inverse of ``str``; None where ``text`` is no such format."""
        match = _SPELLING.fullmatch(text)
        if match is None or (size := int(match[3])) < 16 or size & (size - 1):
            return None
        return cls(int(match[2]), size, bool(match[1]))

    def count_blocks(self, inputs: int) -> int:
        """Blocks of a row of ``inputs`` weights."""
        return -(-inputs // self.block_size)

    def count_bytes(self, outputs: int, inputs: int) -> int:
        """Bytes of the codes, float32 scales and zero points of weights (``outputs``, ``inputs``)."""
        blocks = self.count_blocks(inputs)
        row_bytes = blocks * (self.block_size * self.bits // 8 + _SCALE_BYTES)
        return outputs * (row_bytes + (-(-blocks * self.bits // 8) if self.has_zero_point else 0))


@dataclass(frozen=True)
class BlockGrid:
    """The codes of some blocks and what they stand for.

    Attributes:
        codes: Whole numbers from 0 on, float32 (N, blocks, block).
        scales: float32 (N, blocks).
        zero_points: The code that stands for 0, float32 (N, blocks).
    """

    codes: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray


def search_grid(
    values: np.ndarray,
    bits: int,
    *,
    has_zero_point: bool = False,
    error_weights: np.ndarray | float = 1.0,
) -> BlockGrid:
    """Of shrunk ranges for each block of ``values`` the one with the least squared error.

    Args:
        values: Floats (N, blocks, block).
        bits: 2, 4 or 8.
        has_zero_point: Whether the range may lie anywhere around 0; else it has one code more on one side, and the scale is
            negative where the block's largest weight is positive, so that it can use it.
        error_weights: How often an error counts, as it broadcasts against ``values``.
    """
    return _pick_range(values, _iter_ranges(values, bits, has_zero_point), bits, error_weights)


def search_scales(values: np.ndarray, initial_scales: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes around 0, of the shape of ``values``, and of the shrunk ``initial_scales`` (N, blocks) those with the least
    squared error.
    """
    middle = np.full(initial_scales.shape, 2 ** (bits - 1), np.float32)
    grid = _pick_range(values, ((initial_scales * shrink, middle) for shrink in _RANGE_SHRINKS[bits]), bits)
    return grid.codes - middle[:, :, None], grid.scales


def _pick_range(
    values: np.ndarray,
    ranges: Iterable[tuple[np.ndarray, np.ndarray]],
    bits: int,
    error_weights: np.ndarray | float = 1.0,
) -> BlockGrid:
    """For each block that of ``ranges``, scales and zero points, with the least squared error."""
    best = np.full(values.shape[:2], np.inf, np.float32)
    codes = np.zeros(values.shape, np.float32)
    found_scales, found_zero_points = np.ones_like(best), np.zeros_like(best)
    for candidate_scales, zero_points in ranges:
        scales = candidate_scales.astype(np.float32)
        scales = np.where(np.abs(scales) > _MIN_SCALE, scales, np.float32(1.0))
        candidate = np.clip(np.rint(values / scales[:, :, None]) + zero_points[:, :, None], 0, 2**bits - 1)
        residual = (candidate - zero_points[:, :, None]) * scales[:, :, None] - values
        error = (np.square(residual) * error_weights).sum(axis=2)
        better = error < best
        best, codes = np.where(better, error, best), np.where(better[:, :, None], candidate, codes)
        found_scales = np.where(better, scales, found_scales)
        found_zero_points = np.where(better, zero_points, found_zero_points)
    return BlockGrid(codes.astype(np.float32, copy=False), found_scales, found_zero_points)


def _iter_ranges(values: np.ndarray, bits: int, has_zero_point: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scales and zero points to try."""
    middle, top = 2 ** (bits - 1), 2**bits - 1
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=2, keepdims=True), axis=2)[:, :, 0]
    low, high = np.minimum(values.min(axis=2), 0.0), np.maximum(values.max(axis=2), 0.0)
    for shrink in _RANGE_SHRINKS[bits]:
        yield -largest / middle * shrink, np.full(largest.shape, middle, np.float32)
        if has_zero_point:
            scales = np.maximum((high - low) * (shrink / top), _MIN_SCALE)
            yield scales, np.clip(np.rint(-low * shrink / scales), 0, top).astype(np.float32)
