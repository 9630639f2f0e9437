"""A PRelu with one slope."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import simplify
from tests.support.equality import run, same
from tests.support.onnx_text import ROOM, build, fires, floats, rests

RULE = "single slopes"
TEXT = "(float[N,3,5,5] x) => (float[N,3,5,5] y) { a = Conv (x, w) y = PRelu (a, s) }"


@pytest.mark.parametrize("slopes", [np.float32(0.25), np.full((1,), 2.0, np.float32), np.full((3, 1, 1), -0.5, np.float32)])
def test_one_slope_is_a_leaky_relu(slopes: np.ndarray) -> None:
    fires(RULE, build(TEXT, w=floats(3, 3, 1, 1), s=slopes), "Conv LeakyRelu")


def test_not_with_several_slopes() -> None:
    rests(RULE, build(TEXT, w=floats(3, 3, 1, 1), s=floats(3, 1, 1)))


def test_not_where_slopes_may_add_an_axis() -> None:
    text = "(float[5] x) => (float[1,5] y) { y = PRelu (x, s) }"
    rests(RULE, build(text, s=np.full((1, 5), 0.5, np.float32)))


def test_not_where_slopes_may_make_an_axis_longer() -> None:
    text = "(float[1,C,5,5] x) => (float[1,D,5,5] y) { y = PRelu (x, s) }"
    model = build(text, s=np.full((2, 1, 1), 0.5, np.float32))
    result, report = simplify(model, ROOM)
    assert RULE not in report.changed
    assert same(*(run(one, {"x": floats(1, 1, 5, 5)})["y"] for one in (model, result)))


def test_not_of_whole_numbers() -> None:
    rests(RULE, build("(int32[5] x) => (int32[5] y) { y = PRelu (x, s) }", s=np.asarray([2], np.int32)))


def test_not_of_slopes_that_come_in() -> None:
    rests(RULE, build("(float[5] x, float[1] s) => (float[5] y) { y = PRelu (x, s) }"))
