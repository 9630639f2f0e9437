"""Unsqueeze(Gather(x, i))."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "gathers"
ONE = np.asarray([1], np.int64)


def test_the_axis_is_not_dropped_to_come_back() -> None:
    text = "(float[N,3,4] x) => (float[N,1,4] y) { g = Gather <axis=1> (x, i) u = Unsqueeze (g, a) y = Relu (u) }"
    fires(RULE, build(text, i=np.asarray(2, np.int64), a=ONE), "Gather Relu")


def test_up_to_opset_12_axes_are_an_attribute() -> None:
    text = "(float[N,3,4] x) => (float[N,1,4] y) { g = Gather <axis=1> (x, i) y = Unsqueeze <axes=[1]> (g) }"
    fires(RULE, build(text, opset=12, i=np.asarray(2, np.int64)), "Gather")


def test_not_at_another_place() -> None:
    text = "(float[N,3,4] x) => (float[1,N,4] y) { g = Gather <axis=1> (x, i) y = Unsqueeze (g, a) }"
    rests(RULE, build(text, i=np.asarray(2, np.int64), a=np.asarray([0], np.int64)))


@pytest.mark.parametrize("index", [[2], [0, 1]])
def test_nearly_one_index(index: list[int]) -> None:
    size = len(index)
    text = f"(float[N,3,4] x) => (float[N,1,{size},4] y) {{ g = Gather <axis=1> (x, i) y = Unsqueeze (g, a) }}"
    rests(RULE, build(text, i=np.asarray(index, np.int64), a=ONE))


def test_not_when_it_is_read_elsewhere() -> None:
    text = """(float[N,3,4] x) => (float[N,1,4] y, float[N,4] z) {
        g = Gather <axis=1> (x, i)
        y = Unsqueeze (g, a)
        z = Relu (g)
    }"""
    rests(RULE, build(text, i=np.asarray(2, np.int64), a=ONE), "read elsewhere")
