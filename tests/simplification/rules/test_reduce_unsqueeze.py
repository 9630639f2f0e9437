"""Axes that a reduction drops and that come back with size 1."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "dropped axes kept"


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMean", "ReduceL2", "ReduceLogSumExp", "ReduceProd"])
def test_what_is_dropped_to_come_back_stays(op: str) -> None:
    text = f"(float[N,3,4] x) => (float[N,1,4] y) {{ r = {op} <axes = [1], keepdims = 0> (x) y = Unsqueeze (r, a) }}"
    fires(RULE, build(text, a=ints(1)), op)


def test_axes_may_be_counted_from_the_back_and_be_inputs() -> None:
    text = "(float[N,3,4,5] x) => (float[N,3,1,1] y) { r = ReduceSum <keepdims = 0> (x, a) y = Unsqueeze (r, b) }"
    fires(RULE, build(text, opset=18, a=ints(-1, 2), b=ints(2, -1)), "ReduceSum")


def test_the_place_of_the_largest() -> None:
    text = "(float[N,3,4] x) => (int64[N,3,1] y) { r = ArgMax <axis = -1, keepdims = 0> (x) y = Unsqueeze (r, a) }"
    fires(RULE, build(text, a=ints(2)), "ArgMax")


def test_a_reshape_to_the_same_dimensions() -> None:
    text = "(float[N,3,4,5] x) => (float[N,3,1,1] y) { r = ReduceMax <axes = [2,3], keepdims = 0> (x) y = Reshape (r, t) }"
    fires(RULE, build(text, t=ints(0, 3, 1, 1)), "ReduceMax")


def test_before_opset_13_axes_are_attributes() -> None:
    text = """(float[N,3,4] x) => (float[N,1,4] y) {
        r = ReduceSum <axes = [1], keepdims = 0> (x) y = Unsqueeze <axes = [1]> (r) }"""
    fires(RULE, build(text, opset=11), "ReduceSum")


def test_not_other_axes() -> None:
    text = "(float[N,3,4] x) => (float[N,4,1] y) { r = ReduceMax <axes = [1], keepdims = 0> (x) y = Unsqueeze (r, a) }"
    rests(RULE, build(text, a=ints(2)), "other axes")


def test_not_what_is_read_without_them_too() -> None:
    text = """(float[N,3,4] x) => (float[N,1,4] y, float[N,4] z) {
        r = ReduceMax <axes = [1], keepdims = 0> (x) y = Unsqueeze (r, a) z = Relu (r) }"""
    rests(RULE, build(text, a=ints(1)), "read elsewhere")


def test_nearly_a_reduction_that_drops() -> None:
    text = "(float[N,3,4] x) => (float[N,1,1,4] y) { r = ReduceMax <axes = [1]> (x) y = Unsqueeze (r, a) }"
    rests(RULE, build(text, a=ints(1)))
