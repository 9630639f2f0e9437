"""k-means on a line: a fixed point of Lloyd's algorithm, better than even levels."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.numerics import kmeans


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 500), st.integers(0, 2**31))
def test_a_codebook_is_a_fixed_point_of_lloyds_algorithm(k: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    found = kmeans.find_centers(values, k)
    assert len(found) <= k
    indices = kmeans.assign_nearest(values, found)
    np.testing.assert_array_equal(indices, np.abs(values[:, None] - found.astype(np.float64)).argmin(axis=1))
    if len(np.unique(values)) <= k:
        np.testing.assert_array_equal(found[indices], values)
    elif count < 300:
        means = [values[indices == i].mean() for i in range(len(found)) if (indices == i).any()]
        np.testing.assert_allclose(means, found[np.unique(indices)], atol=0.02)


def test_a_codebook_is_no_worse_than_levels_at_equal_distances() -> None:
    values = np.random.default_rng(0).standard_normal(20_000)
    levels = np.linspace(values.min(), values.max(), 16)
    error = [
        np.square(c[kmeans.assign_nearest(values, c)] - values).sum() for c in (kmeans.find_centers(values, 16), levels)
    ]
    assert error[0] < 0.6 * error[1]
