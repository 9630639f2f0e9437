"""Bounds on bounds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "bounds"


def f(number: float) -> np.ndarray:
    return np.asarray(number, np.float32)


@pytest.mark.parametrize(
    ("body", "ops"),
    [
        ("a = Relu (x) y = Relu (a)", "Relu"),
        ("a = Clip (x, zero, six) y = Relu (a)", "Clip"),
        ("a = Relu (x) y = Clip (a, minus, six)", "Clip"),
        ("a = Clip (x, minus, six) y = Relu (a)", "Clip"),
        ("a = Clip (x, minus) y = Relu (a)", "Relu"),
        ("a = Clip (x, minus, six) y = Clip (a, zero)", "Clip"),
    ],
)
def test_two_bounds_are_one(body: str, ops: str) -> None:
    model = build(f"(float[N,9] x) => (float[N,9] y) {{ {body} }}", zero=f(0), six=f(0.6), minus=f(-0.2))
    fires(RULE, model, ops)


def test_before_opset_11_bounds_are_attributes() -> None:
    text = "(float[N,9] x) => (float[N,9] y) { a = Clip <min=-0.2, max=0.6> (x) y = Clip <min=0.0, max=1.0> (a) }"
    fires(RULE, build(text, opset=9), "Clip")


def test_not_when_the_intervals_do_not_meet() -> None:
    text = "(float[N,9] x) => (float[N,9] y) { a = Clip (x, minus, zero) y = Clip (a, half, one) }"
    rests(RULE, build(text, zero=f(0), minus=f(-1), half=f(0.5), one=f(1)), "do not meet")


def test_not_when_the_inner_one_is_read_elsewhere() -> None:
    text = "(float[N,9] x) => (float[N,9] y, float[N,9] z) { a = Clip (x, minus, six) y = Relu (a) z = Neg (a) }"
    rests(RULE, build(text, minus=f(-0.2), six=f(0.6)), "read elsewhere")


def test_nearly_constant_bounds() -> None:
    text = "(float[N,9] x, float top) => (float[N,9] y) { a = Relu (x) y = Clip (a, zero, top) }"
    rests(RULE, build(text, zero=f(0)), "only known at run time")
