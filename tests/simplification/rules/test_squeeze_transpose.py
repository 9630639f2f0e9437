"""Axes of size one that a Transpose carries along."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, rests

RULE = "squeezed transposes"


def attention(reader: str) -> ir.Model:
    text = f"""(float[T,N,12] x) => (float[T,N,4] y) {{
        v = Reshape (x, parts)
        u = Unsqueeze (v, zero)
        t = Transpose <perm = [3, 1, 2, 0, 4]> (u)
        s = Squeeze (t, last)
        {reader}
    }}"""
    found = {"parts": [0, 0, 3, 4], "zero": [0], "last": [-2], "i": 0, "j": 1}
    return build(text, **{name: np.asarray(array) for name, array in found.items() if name in text})


def test_packed_projections_are_taken_without_a_fifth_axis() -> None:
    model = attention("a = Gather <axis = 0> (s, i) b = Gather <axis = 0> (s, j) y = Add (a, b)")
    fires(RULE, model, "Reshape Gather Gather Add")


def test_not_when_rows_are_moved_for_another_reader() -> None:
    rests(RULE, attention("y = ReduceMax <axes = [0], keepdims = 0> (s)"), "slower")


def test_opset_12() -> None:
    model = build(
        """(float[N,2,3] x) => (float[N,3,2] y) {
            u = Unsqueeze <axes = [1]> (x)
            t = Transpose <perm = [1, 0, 3, 2]> (u)
            y = Squeeze <axes = [0]> (t)
        }""",
        opset=12,
    )
    fires(RULE, model, "Transpose")


def test_not_when_the_dimension_may_not_be_one() -> None:
    text = """(float[N,2,3] x) => (float[2,3] y) {
        u = Reshape (x, target)
        t = Transpose <perm = [1, 0, 2]> (u)
        y = Squeeze (t, one)
    }"""
    model = build(text, target=np.asarray([-1, 2, 3]), one=np.asarray([1]))
    assert RULE not in simplify(model)[1].changed


@pytest.mark.parametrize("also", ["t", "u"])
def test_not_when_what_it_squeezes_is_read_elsewhere(also: str) -> None:
    model = build(
        f"""(float[N,2,3] x) => (float[N,3,2] y, float[A,B,C,D] z) {{
            u = Unsqueeze (x, one)
            t = Transpose <perm = [1, 0, 3, 2]> (u)
            y = Squeeze (t, zero)
            z = Relu ({also})
        }}""",
        zero=np.asarray([0]),
        one=np.asarray([1]),
    )
    rests(RULE, model, "read elsewhere")


def test_not_without_a_view_before() -> None:
    model = build(
        """(float[N,1,3,2] x) => (float[N,2,3] y) {
            t = Transpose <perm = [1, 0, 3, 2]> (x)
            y = Squeeze (t, zero)
        }""",
        zero=np.asarray([0]),
    )
    rests(RULE, model)
