"""Rounding that keeps sums: the errors of one kernel's taps cancel.

Nearest rounding of n weights leaves their sum off by about the root of n / 12. Neighbouring values of a feature map are
nearly equal, so what a kernel makes of them is mostly their value times the sum of its taps: that sum is what must be right.
Rounding a few taps the other way, those that were nearly in the middle between two codes, takes the sum's error below a half
(the kernel-wise part of Guo et al., SQuant, 2022). It needs no data.
"""

from __future__ import annotations

import numpy as np


def round_keeping_sums(values: np.ndarray, limit: int) -> np.ndarray:
    """Whole numbers in [−limit, limit] as floats, near ``values``, whose sums are near those of ``values``.

    Args:
        values: float (kernels, taps): the weights in units of their scales.
        limit: The largest code.
    """
    codes: np.ndarray = np.clip(np.rint(values), -limit, limit)
    if values.shape[1] == 1:
        return codes
    errors = codes - values
    sums = errors.sum(axis=1, keepdims=True)
    direction = -np.sign(sums)
    # a tap gains by going the other way what it was rounded away from there; at the limit there is no other way
    gains = np.where(np.abs(codes + direction) <= limit, -direction * errors, -np.inf)
    ranks = np.argsort(np.argsort(-gains, axis=1, kind="stable"), axis=1, kind="stable")
    # a tap that is right already would be a whole step off
    is_flipped = (ranks < np.rint(np.abs(sums))) & (gains > 0)
    flipped: np.ndarray = codes + direction * is_flipped
    return flipped
