"""Shape arithmetic that is wholly known."""

from __future__ import annotations

import numpy as np

from tests.support.onnx_text import build, fires, rests

RULE = "shape arithmetic"


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def test_what_is_computed_from_fixed_dimensions_is_a_constant() -> None:
    text = """(float[N,3,8] x) => (float[N,24] y) {
        d = Shape (x)
        c = Gather (d, one)
        h = Gather (d, two)
        s = Mul (c, h)
        m = Concat <axis=0> (minus, s)
        r = Reshape (x, m)
        y = Relu (r)
    }"""
    fires(RULE, build(text, one=ints(1), two=ints(2), minus=ints(-1)), "Reshape Relu")


def test_a_comparison_is_decided_for_every_size() -> None:
    text = """(float[N,8] x) => (float[N,8] y) {
        d = Shape (x)
        e = Equal (d, minus)
        w = Where (e, ones, d)
        z = Expand (x, w)
        y = Relu (z)
    }"""
    fires(RULE, build(text, minus=ints(-1), ones=ints(1, 1)), "Relu")


def test_not_what_depends_on_a_free_dimension() -> None:
    text = "(float[N,8] x) => (int64[1] y) { y = Shape <end=1> (x) }"
    rests(RULE, build(text))


def test_nearly_known_but_for_one_entry() -> None:
    text = "(float[N,8] x, int64[1] k) => (int64[2] y) { d = Shape <start=1> (x) y = Concat <axis=0> (k, d) }"
    report = fires(RULE, build(text), "Concat")
    assert report.changed[RULE] == 1
