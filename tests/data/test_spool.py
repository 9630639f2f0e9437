"""Rows that come by once come back as they were, whatever blocks they came in."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.data.columns import read_all
from onnxslim.data.spool import Spool


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any), st.sampled_from(["f4", "i8", "u1"]))
def test_blocks_of_any_size_come_back_as_one_array(sizes: list[int], dtype: str) -> None:
    blocks = [np.random.default_rng(i).integers(0, 99, (size, 2, 3)).astype(dtype) for i, size in enumerate(sizes)]
    spool = Spool("rows")
    for block in blocks:
        spool.append(block)
    found = read_all(spool.to_column())
    np.testing.assert_array_equal(found, np.concatenate(blocks))
    assert found.dtype == np.dtype(dtype)
