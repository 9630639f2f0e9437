"""Casts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "casts"


def test_a_cast_to_its_own_type_is_nothing() -> None:
    fires(RULE, build("(float[N,4] x) => (float[N,4] y) { c = Cast <to=1> (x) y = Relu (c) }"), "Relu")


def test_a_cast_like_is_a_cast() -> None:
    text = "(float[N,4] x, int64[1] k) => (int64[N,4] y) { c = CastLike (x, k) y = Abs (c) }"
    fires(RULE, build(text), "Cast Abs")


def test_over_a_wider_type_is_no_detour() -> None:
    text = "(int32[N,4] x) => (float[N,4] y) { a = Cast <to=7> (x) b = Cast <to=1> (a) y = Relu (b) }"
    fires(RULE, build(text), "Cast Relu")


@pytest.mark.parametrize(("there", "why"), [(7, "INT64"), (10, "FLOAT16")])
def test_not_over_a_type_that_loses_digits(there: int, why: str) -> None:
    text = f"(float[N,4] x) => (float[N,4] y) {{ a = Cast <to={there}> (x) y = Cast <to=1> (a) }}"
    rests(RULE, build(text), f"Cast to {why}")


def test_nearly_over_a_wider_type() -> None:
    text = "(int64[N,4] x) => (int64[N,4] y) { a = Cast <to=1> (x) y = Cast <to=7> (a) }"
    rests(RULE, build(text), "loses digits")


def test_parameters_behind_castlike_and_expand_still_reach_their_layer() -> None:
    text = """(float[N,2,5,5] x) => (float[N,3,5,5] y) {
        c = Conv (x, w)
        d = Shape (s)
        k = CastLike (s, x)
        e = Expand (k, d)
        y = BatchNormalization (c, e, s, s, v)
    }"""
    s = np.asarray([1.0, 2.0, 3.0], np.float32)
    fires(RULE, build(text, w=np.ones((3, 2, 1, 1), np.float32), s=s, v=s), "Conv")
