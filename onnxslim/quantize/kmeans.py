"""k-means on a line: the k values that stand for a weight with the least squared error; arrays in, arrays out."""

from __future__ import annotations

import numpy as np

#: Lloyd's iterations; on a line with quantile starts the error stops moving long before.
_ITERATIONS = 50


def centres(values: np.ndarray, k: int) -> np.ndarray:
    """At most ``k`` centres, ascending, float32; exactly the distinct values where there are no more than ``k``.

    Lloyd's algorithm from quantiles (Han et al., Deep Compression, 2016, start it linearly; quantiles leave no centre
    without values). On a line a cluster is an interval of the sorted values, so an iteration is ``k`` binary searches in
    their running sum, whatever their number.

    Args:
        values: Any shape, finite.
        k: At least 1.
    """
    line = np.sort(values.reshape(-1).astype(np.float64))
    distinct = np.unique(line)
    if len(distinct) <= k:
        return distinct.astype(np.float32)
    sums = np.concatenate([[0.0], np.cumsum(line)])
    # half of the starts where the values are dense, half spread evenly, or the tails get no centre of their own
    dense = np.quantile(line, (np.arange(k - k // 2) + 0.5) / (k - k // 2))
    found = np.unique(np.concatenate([dense, np.linspace(line[0], line[-1], k // 2 + 2)[1:-1]]))
    for _ in range(_ITERATIONS):
        ends = np.concatenate([[0], np.searchsorted(line, (found[1:] + found[:-1]) / 2), [len(line)]])
        counts = np.diff(ends)
        moved = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), found)
        if np.array_equal(moved, found):
            break
        found = moved
    return found.astype(np.float32)


def nearest(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The index of the nearest of the ascending centres ``found`` for each value: int64, the shape of ``values``."""
    return np.searchsorted((found[1:] + found[:-1]) / 2, values)
