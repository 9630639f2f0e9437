"""Concatenations and splits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "concatenations"
HALVES = np.asarray([2, 2], np.int64)


def test_one_input_and_one_part_are_nothing() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { c = Concat <axis=1> (x) s = Split <axis=1> (c, k) y = Relu (s) }"
    fires(RULE, build(text, k=np.asarray([4], np.int64)), "Relu")


@pytest.mark.parametrize("axis", [1, -1])
def test_nested_ones_are_flattened(axis: int) -> None:
    text = f"""(float[N,4] x) => (float[N,12] y) {{
        r = Relu (x)
        c = Concat <axis={axis}> (r, x)
        y = Concat <axis=1> (x, c)
    }}"""
    fires(RULE, build(text), "Relu Concat")


def test_what_was_split_is_joined_to_what_it_was() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a, b = Split <axis=1> (x, k) c = Concat <axis=1> (a, b) y = Relu (c) }"
    fires(RULE, build(text, k=HALVES), "Relu")


def test_not_in_another_order() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a, b = Split <axis=1> (x, k) y = Concat <axis=1> (b, a) }"
    rests(RULE, build(text, k=HALVES))


def test_nearly_along_the_axis_that_was_split() -> None:
    text = "(float[4,4] x) => (float[8,2] y) { a, b = Split <axis=1> (x, k) y = Concat <axis=0> (a, b) }"
    rests(RULE, build(text, k=HALVES), "not join along the axis")


def test_nearly_nested_along_one_axis() -> None:
    text = "(float[4,4] x) => (float[4,8] y) { c = Concat <axis=0> (z, z) y = Concat <axis=1> (c, x) z = Slice (x, s, e) }"
    text = "(float[2,4] x) => (float[4,8] y) { c = Concat <axis=0> (x, x) y = Concat <axis=1> (c, c) }"
    rests(RULE, build(text))
