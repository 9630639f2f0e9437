"""Unfolded rows times the weights are the convolution."""

from __future__ import annotations

import numpy as np
from scipy.signal import correlate

from onnxslim.quantization.numerics import im2col


def test_unfolded_patches_times_weights_is_the_convolution() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 9, 8)), rng.normal(size=(4, 3, 3, 3))
    window = im2col.PatchGeometry((3, 3), (2, 1), (1, 2), (1, 2), groups=2)
    padded = np.pad(x, ((0, 0), (1, 1), (2, 2)))
    expected = np.zeros((4, 5, 8))
    for out in range(4):
        for c in range(3):
            kernel = np.zeros((3, 5))
            kernel[:, ::2] = w[out, c]
            expected[out] += correlate(padded[3 * (out // 2) + c], kernel, "valid")[::2]
    rows = im2col.unfold(x, window, np.arange(40), (5, 8))
    got = np.einsum("gpd,god->gop", rows, w.reshape(2, 2, -1)).reshape(4, 5, 8)
    np.testing.assert_allclose(got, expected, atol=1e-10)
