"""Constants that meet."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, floats, rests

RULE = "constants joined"


@pytest.mark.parametrize("op", ["Mul", "Add"])
def test_two_constants_are_one(op: str) -> None:
    text = f"(float[N,4] x) => (float[N,4] y) {{ a = {op} (x, k) y = {op} (m, a) }}"
    fires(RULE, build(text, k=floats(4), m=floats(1, 4, seed=1)), op)


def test_not_different_ops() -> None:
    rests(RULE, build("(float[N,4] x) => (float[N,4] y) { a = Mul (x, k) y = Add (a, k) }", k=floats(4)))


def test_not_when_the_first_is_read_elsewhere() -> None:
    text = "(float[N,4] x) => (float[N,4] y, float[N,4] z) { a = Mul (x, k) y = Mul (a, k) z = Relu (a) }"
    rests(RULE, build(text, k=floats(4)), "read elsewhere")


def test_not_integers_which_may_overflow() -> None:
    text = "(int64[N,4] x) => (int64[N,4] y) { a = Mul (x, k) y = Mul (a, k) }"
    rests(RULE, build(text, k=np.asarray([3], np.int64)), "overflow")


def test_nearly_joined_to_a_larger_constant() -> None:
    text = "(float[N,3,4] x) => (float[N,3,4] y) { a = Mul (x, k) y = Mul (a, m) }"
    rests(RULE, build(text, k=floats(3, 1), m=floats(4)), "larger")


@pytest.mark.parametrize(("op", "size"), [("Mul", 1e30), ("Mul", 1e-30), ("Add", 3e38)])
def test_not_where_the_joined_constant_would_be_beyond_its_type(op: str, size: float) -> None:
    text = f"(float[N,4] x) => (float[N,4] y) {{ a = {op} (x, k) y = {op} (a, k) }}"
    rests(RULE, build(text, k=np.full(4, size, np.float32)), "beyond its type")


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_not_beyond_the_largest_type_either(size: float) -> None:
    text = "(double[N,4] x) => (double[N,4] y) { a = Mul (x, k) y = Mul (a, k) }"
    rests(RULE, build(text, k=np.full(4, size, np.float64)), "beyond its type")
