"""A fair sample of a stream."""

from __future__ import annotations

import numpy as np
from scipy import stats

from onnxslim.tools.reservoir import Reservoir


def test_every_place_of_a_stream_is_kept_equally_often() -> None:
    counts = np.zeros(60, int)
    for seed in range(1500):
        kept: Reservoir[int] = Reservoir(6, seed)
        for item in range(60):
            if kept.wants():
                kept.put(item)
        assert len(set(kept.items)) == 6
        counts[kept.items] += 1
    assert stats.chisquare(counts).pvalue > 1e-3
