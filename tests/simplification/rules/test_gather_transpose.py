"""One index along an axis that was moved."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "gathers before transposes"


@pytest.mark.parametrize("axis", [1, -2])
def test_the_last_step_of_a_sequence_is_taken_where_it_lies(axis: int) -> None:
    model = build(
        f"""(float[T,N,4] x) => (float[N,4] y) {{
            t = Transpose <perm = [1, 0, 2]> (x)
            y = Gather <axis = {axis}> (t, i)
        }}""",
        i=np.asarray(-1),
    )
    fires(RULE, model, "Gather")


def test_what_is_left_is_transposed_after() -> None:
    model = build(
        """(float[N,2,3,4] x) => (float[4,3,N] y) {
            t = Transpose <perm = [3, 1, 2, 0]> (x)
            y = Gather <axis = 1> (t, i)
        }""",
        i=np.asarray(1),
    )
    fires(RULE, model, "Gather Transpose")


def test_an_index_that_is_fed() -> None:
    model = build(
        """(float[N,2,4] x, int64 i) => (float[N,4] y) { t = Transpose <perm = [1, 0, 2]> (x) y = Gather (t, i) }"""
    )
    fires(RULE, model, "Gather")


def test_not_for_a_list_of_indices() -> None:
    model = build(
        """(float[N,2,4] x) => (float[1,N,4] y) { t = Transpose <perm = [1, 0, 2]> (x) y = Gather (t, i) }""",
        i=np.asarray([1]),
    )
    rests(RULE, model)


def test_not_when_two_would_be_moved_for_one() -> None:
    model = build(
        """(float[N,2,3,4] x) => (float[4,3,N] y, float[4,2,3,N] z) {
            t = Transpose <perm = [3, 1, 2, 0]> (x)
            y = Gather <axis = 1> (t, i)
            z = Relu (t)
        }""",
        i=np.asarray(1),
    )
    rests(RULE, model, "read elsewhere")
