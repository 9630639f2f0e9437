"""A PRelu with a slope for each channel."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, floats, rests

RULE = "slopes"
TEXT = "(float[N,{c},{h},{h}] x) => (float[N,{c},{h},{h}] y) {{ a = Conv (x, w) y = PRelu (a, s) }}"


@pytest.mark.parametrize("size", [64, "H"])
def test_slopes_are_a_sum_of_two_products(size: int | str) -> None:
    model = build(TEXT.format(c=2, h=size), w=floats(2, 2, 1, 1), s=np.asarray([-2.5, 1.5], np.float32).reshape(2, 1, 1))
    fires(RULE, model, "Conv Mul Relu Mul Add")


def test_rows_have_slopes_too() -> None:
    text = "(float[N,T,256] x) => (float[N,T,256] y) { y = PRelu (x, s) }"
    fires(RULE, build(text, s=floats(256)), "Mul Relu Mul Add")


def test_not_of_few_values() -> None:
    rests(RULE, build(TEXT.format(c=2, h=5), w=floats(2, 2, 1, 1), s=floats(2, 1, 1)), "slower")


@pytest.mark.parametrize("slope", [1e8, -20.0, np.nan, np.inf])
def test_not_of_slopes_in_whose_products_positive_values_are_lost(slope: float) -> None:
    slopes = np.asarray([slope, 0.5], np.float32).reshape(2, 1, 1)
    rests(RULE, build(TEXT.format(c=2, h=64), w=floats(2, 2, 1, 1), s=slopes), "slopes are beyond 16")


def test_not_of_slopes_that_come_in() -> None:
    text = "(float[N,2,64,64] x, float[2,1,1] s) => (float[N,2,64,64] y) { y = PRelu (x, s) }"
    rests(RULE, build(text))
