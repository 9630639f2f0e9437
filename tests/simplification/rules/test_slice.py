"""Slices that take everything, and slices of slices."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "slices"


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


@pytest.mark.parametrize("end", [4, 99, 2**31 - 1, 2**63 - 1])
def test_taking_all_is_nothing(end: int) -> None:
    text = "(float[N,4] x) => (float[N,4] y) { s = Slice (x, z, e, a) y = Relu (s) }"
    fires(RULE, build(text, z=ints(0), e=ints(end), a=ints(1)), "Relu")


def test_taking_all_of_a_free_dimension_is_nothing() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { n = Shape <end=1> (x) s = Slice (x, z, n, z) y = Relu (s) }"
    fires(RULE, build(text, z=ints(0)), "Relu")


def test_two_axes_are_cut_at_once() -> None:
    text = "(float[N,8,8] x) => (float[N,3,4] y) { s = Slice (x, o, e, a, t) y = Slice (s, z, e, b, t) }"
    arrays = {"o": ints(2), "e": ints(2**31 - 1), "a": ints(1), "b": ints(-1), "t": ints(2), "z": ints(0)}
    fires(RULE, build(text, **arrays), "Slice")


def test_before_opset_10_bounds_are_attributes() -> None:
    text = """(float[N,8,8] x) => (float[N,6,5] y) {
        s = Slice <starts=[2], ends=[2147483647], axes=[1]> (x)
        y = Slice <starts=[0], ends=[5], axes=[2]> (s)
    }"""
    fires(RULE, build(text, opset=9), "Slice")


def test_not_the_same_axis_twice() -> None:
    text = "(float[N,8] x) => (float[N,4] y) { s = Slice (x, o, e, a) y = Slice (s, o, e, a) }"
    rests(RULE, build(text, o=ints(2), e=ints(99), a=ints(1)), "an axis that the Slice before it cut")


def test_not_when_the_inner_one_is_read_elsewhere() -> None:
    text = """(float[N,8,8] x) => (float[N,6,6] y, float[N,6,8] z) {
        s = Slice (x, o, e, a)
        y = Slice (s, o, e, b)
        z = Relu (s)
    }"""
    rests(RULE, build(text, o=ints(2), e=ints(99), a=ints(1), b=ints(2)), "read elsewhere")


@pytest.mark.parametrize(("start", "end", "step"), [(1, 4, 1), (0, 3, 1), (0, 4, 2), (-1, -99, -1)])
def test_nearly_all(start: int, end: int, step: int) -> None:
    text = "(float[N,4] x) => (float[N,M] y) { y = Slice (x, s, e, a, t) }"
    rests(RULE, build(text, s=ints(start), e=ints(end), a=ints(1), t=ints(step)))
