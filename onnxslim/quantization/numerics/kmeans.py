"""k-means on a line: the k values that stand for a weight with the least squared error; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

#: Lloyd's iterations; on a line with quantile starts the error stops moving long before.
_MAX_ITERATIONS = 50


def find_centers(values: np.ndarray, k: int) -> np.ndarray:
    """At most ``k`` centres, ascending, float32; exactly the distinct values where there are no more than ``k``.

    Lloyd's algorithm from quantiles (Han et al., Deep Compression, 2016, start it linearly; quantiles leave no centre
    without values). On a line a cluster is an interval of the sorted values, so an iteration is ``k`` binary searches in
    their running sum, whatever their number.

    Args:
        values: Any shape, finite.
        k: At least 1.
    """
    sorted_values = np.sort(values.reshape(-1).astype(np.float64))
    distinct = np.unique(sorted_values)
    if len(distinct) <= k:
        return distinct.astype(np.float32)
    running_sums = np.concatenate([[0.0], np.cumsum(sorted_values)])
    # half of the starts where the values are dense, half spread evenly, or the tails get no centre of their own
    quantile_starts = np.quantile(sorted_values, (np.arange(k - k // 2) + 0.5) / (k - k // 2))
    centers = np.unique(
        np.concatenate([quantile_starts, np.linspace(sorted_values[0], sorted_values[-1], k // 2 + 2)[1:-1]])
    )
    for _ in range(_MAX_ITERATIONS):
        edges = np.concatenate([[0], np.searchsorted(sorted_values, (centers[1:] + centers[:-1]) / 2), [len(sorted_values)]])
        counts = np.diff(edges)
        new_centers = np.where(counts > 0, np.diff(running_sums[edges]) / np.maximum(counts, 1), centers)
        if np.array_equal(new_centers, centers):
            break
        centers = new_centers
    return centers.astype(np.float32)


def assign_nearest(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The index of the nearest of the ascending centres ``centers`` for each value: int64, the shape of ``values``."""
    return np.searchsorted((centers[1:] + centers[:-1]) / 2, values)
