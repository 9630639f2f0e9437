"""A state goes on by what comes back, and stays where nothing does."""

from __future__ import annotations

import numpy as np

from onnxslim.core.state import advance_state


def test_what_comes_back_is_the_next_state_and_nothing_leaves_it() -> None:
    full, empty = np.ones((1, 2)), np.ones((1, 0))
    pairs = {"a_out": "a", "b_out": "b"}
    after = advance_state(pairs, {"a": full, "b": full}, {"a_out": 2 * full, "b_out": empty})
    assert np.array_equal(after["a"], 2 * full)
    assert after["b"] is full
    assert advance_state({"a_out": "a"}, {}, {"a_out": empty})["a"] is empty
    assert advance_state({"a_out": "a"}, {"a": empty}, {"a_out": full})["a"] is full
