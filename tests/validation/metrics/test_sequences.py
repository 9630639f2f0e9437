"""Edits of sequences against a plain recursion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.validation.metrics.sequences import edit_distance
from tests.support.metric_values import metric_value


def plain_edit_distance(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return len(a) + len(b)
    return min(
        plain_edit_distance(a[1:], b) + 1,
        plain_edit_distance(a, b[1:]) + 1,
        plain_edit_distance(a[1:], b[1:]) + (a[0] != b[0]),
    )


@given(st.lists(st.integers(1, 3), max_size=5), st.lists(st.integers(1, 3), max_size=5))
def test_edit_distance_is_levenshteins(a: list[int], b: list[int]) -> None:
    assert edit_distance(np.array(a, int), np.array(b, int)) == plain_edit_distance(a, b)


def test_ctc_merges_repeats_before_it_drops_blanks() -> None:
    path = np.eye(4, dtype=np.float32)[[[1, 1, 0, 1, 2, 2]]]  # 1 1 _ 1 2 2 reads 1 1 2
    assert metric_value("ctc", path, labels=np.array([[1, 1, 2]])) == 1
    assert metric_value("ctc", path, labels=np.array([[1, 2, 3]])) == pytest.approx(1 - 2 / 3)
    assert metric_value("ctc", path, labels=np.array([[1, 1, 2, 3]])) == pytest.approx(1 - 1 / 4)
