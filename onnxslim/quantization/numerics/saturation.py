"""Weights on x86 without VNNI: two products of a uint8 and an int8 are added in 16 bits, and the sum saturates.

The kernel multiplies neighbours along the reduction, so a channel is safe when no two neighbouring codes of one sign
add up to more than 128: 255 · 128 = 32 640 still fits. Most tools therefore give every weight 7 bits. Here a channel
loses only what its own worst pair demands, by a scale as much larger as that pair is too large. Arrays in, arrays out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: The largest sum of two neighbouring codes of one sign that cannot saturate: ⌊32 767 / 255⌋.
MAX_PAIR_SUM = 128


def largest_pair_sums(weight: np.ndarray, axis: int) -> np.ndarray:
    """The largest sum of two neighbours of one sign, per index of ``axis``: shape (weight.shape[axis],).

    Neighbours are those of (K, N) matrices along K, and of (M, C, *kernel) convolutions along the channels (kernels that
    read NHWC) and along the flattened C · kernel (NCHW). Pairs start at even places.
    """
    dtype: type[np.number[Any]] = np.int16 if weight.dtype == np.int8 else np.float64
    rows = np.moveaxis(weight, axis, 0).astype(dtype)
    flat = rows.reshape(len(rows), -1)
    layouts = [flat]
    if weight.ndim > 2:
        layouts.append(np.moveaxis(rows, 1, -1).reshape(len(rows), -1))
    largest = np.zeros(len(rows))
    for layout in layouts:
        if layout.shape[1] % 2:
            layout = np.pad(layout, ((0, 0), (0, 1)))
        first, second = layout[:, ::2], layout[:, 1::2]
        for sign in (1, -1):
            sums = np.maximum(sign * first, 0) + np.maximum(sign * second, 0)
            largest = np.maximum(largest, sums.max(axis=1, initial=0.0))
    return largest


def widen_scales(weight: np.ndarray, axis: int, base_scales: np.ndarray) -> np.ndarray:
    """``base_scales`` scales (weight.shape[axis],), larger where a pair of codes could saturate."""
    # each of the two codes may round up by a half
    min_scales = largest_pair_sums(weight, axis) / (MAX_PAIR_SUM - 1)
    widened: np.ndarray = np.maximum(base_scales, min_scales)
    return widened


def find_saturating_channels(codes: np.ndarray, axis: int) -> np.ndarray:
    """Which indices of ``axis`` hold a pair of int8 ``codes`` that can saturate: bool (codes.shape[axis],)."""
    saturating: np.ndarray = largest_pair_sums(codes, axis) > MAX_PAIR_SUM
    return saturating
