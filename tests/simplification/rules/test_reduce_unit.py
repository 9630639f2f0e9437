"""Reductions over axes of size 1."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "reductions of one"


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_kept_it_is_nothing_and_dropped_a_reshape(op: str) -> None:
    text = f"""(float[N,1,4] x) => (float[N,4] y, float[N,1,4] z) {{
        a = {op} <axes=[1], keepdims=0> (x)
        y = Relu (a)
        b = {op} <axes=[1]> (x)
        z = Neg (b)
    }}"""
    fires(RULE, build(text), "Reshape Relu Neg")


def test_the_sum_has_its_axes_as_an_input() -> None:
    text = "(float[N,1,4] x) => (float[N,4] y) { a = ReduceSum <keepdims=0> (x, k) y = Relu (a) }"
    fires(RULE, build(text, k=np.asarray([-2], np.int64)), "Reshape Relu")


def test_not_an_axis_of_unknown_size() -> None:
    rests(RULE, build("(float[N,L,4] x) => (float[N,1,4] y) { y = ReduceMax <axes=[1]> (x) }"))


def test_nearly_a_norm_takes_the_absolute_value() -> None:
    rests(RULE, build("(float[N,1,4] x) => (float[N,1,4] y) { y = ReduceL2 <axes=[1]> (x) }"))


def test_nearly_all_axes_of_size_one() -> None:
    rests(RULE, build("(float[N,1,4] x) => (float[N,1,1] y) { y = ReduceMax <axes=[1,2]> (x) }"))
