"""Sequences of several lengths in one array, and a sum that leaves out what a mask takes out."""

from __future__ import annotations

import numpy as np

#: Of each sample, how many of its five places are read.
LENGTHS = np.array([3, 5, 2, 4, 5, 1])
READ = np.arange(5) < LENGTHS[:, None]
X = np.random.default_rng(0).standard_normal((len(LENGTHS), 5, 4)).astype(np.float32)
#: Of ``x`` (n, s, 4) the sum over the places that ``flags`` (n, s) keep, added to every place.
MASKED_SUM = """
    kept = Cast <to = 1> (flags)
    axis = Constant <value = int64[1] {2}> ()
    weight = Unsqueeze (kept, axis)
    places = Constant <value = int64[1] {1}> ()
    taken = Mul (x, weight)
    total = ReduceSum (taken, places)
    y = Add (x, total)
"""
