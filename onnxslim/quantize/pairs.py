"""Weights on x86 without VNNI: two products of a uint8 and an int8 are added in 16 bits, and the sum saturates.

The kernel multiplies neighbours along the reduction, so a channel is safe when no two neighbouring codes of one sign
add up to more than 128: 255 · 128 = 32 640 still fits. Most tools therefore give every weight 7 bits. Here a channel
loses only what its own worst pair demands, by a scale as much larger as that pair is too large. Arrays in, arrays out.
"""

from __future__ import annotations

import numpy as np

#: The largest sum of two neighbouring codes of one sign that cannot saturate: ⌊32 767 / 255⌋.
LIMIT = 128


def worst(weight: np.ndarray, axis: int) -> np.ndarray:
    """The largest sum of two neighbours of one sign, per index of ``axis``: shape (weight.shape[axis],).

    Neighbours are those of (K, N) matrices along K, and of (M, C, *kernel) convolutions along the channels (kernels that
    read NHWC) and along the flattened C · kernel (NCHW). Pairs start at even places.
    """
    rows = np.moveaxis(weight, axis, 0).astype(np.float64)
    flat = rows.reshape(len(rows), -1)
    orders = [flat]
    if weight.ndim > 2:
        orders.append(np.moveaxis(rows, 1, -1).reshape(len(rows), -1))
    found = np.zeros(len(rows))
    for order in orders:
        if order.shape[1] % 2:
            order = np.pad(order, ((0, 0), (0, 1)))
        first, second = order[:, ::2], order[:, 1::2]
        for sign in (1.0, -1.0):
            sums = np.maximum(sign * first, 0) + np.maximum(sign * second, 0)
            found = np.maximum(found, sums.max(axis=1, initial=0.0))
    return found


def scales(weight: np.ndarray, axis: int, given: np.ndarray) -> np.ndarray:
    """``given`` scales (weight.shape[axis],), larger where a pair of codes could saturate."""
    # each of the two codes may round up by a half
    needed = worst(weight, axis) / (LIMIT - 1)
    found: np.ndarray = np.maximum(given, needed)
    return found


def saturates(codes: np.ndarray, axis: int) -> np.ndarray:
    """Which indices of ``axis`` hold a pair of int8 ``codes`` that can saturate: bool (codes.shape[axis],)."""
    found: np.ndarray = worst(codes, axis) > LIMIT
    return found
