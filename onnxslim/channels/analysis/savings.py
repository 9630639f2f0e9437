"""What each unit would save: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def compute_savings(count: int, labels: Sequence[np.ndarray], holders: Iterable[tuple[float, Sequence[int]]]) -> np.ndarray:
    """What goes with each of ``count`` units when it goes alone, rounded to int64 (count,).

    Args:
        count: Number of units.
        labels: Label arrays (see ``units.py``).
        holders: (amount, axes) of each thing that holds units: an amount spread evenly over a grid whose axes have
            the given labels. A unit with n_a of the s_a slots of axis a takes amount · (1 - ∏ (1 - n_a / s_a)) with it.
    """
    total = np.zeros(count)
    shares: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for amount, axes in holders:
        for axis in axes:
            if axis not in shares:
                found_labels, label_counts = np.unique(labels[axis], return_counts=True)
                shares[axis] = found_labels[found_labels >= 0], label_counts[found_labels >= 0] / len(labels[axis])
        if len(axes) == 1:
            units, share = shares[axes[0]]
            total[units] += amount * share
        elif axes:
            units = np.unique(np.concatenate([shares[axis][0] for axis in axes]))
            kept_share = np.ones(len(units))
            for axis in axes:
                kept_share[np.searchsorted(units, shares[axis][0])] *= 1 - shares[axis][1]
            total[units] += amount * (1 - kept_share)
    return np.rint(total).astype(np.int64)
