"""Adding nothing, multiplying by one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, rests

RULE = "neutral"


@pytest.mark.parametrize(
    "op", ["Add (x, o)", "Add (o, x)", "Sub (x, o)", "Mul (x, i)", "Mul (i, x)", "Div (x, i)", "Pow (x, i)"]
)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 4)])
def test_a_constant_that_changes_nothing_is_gone(op: str, shape: tuple[int, ...]) -> None:
    model = build(
        f"(float[N,4] x) => (float[N,4] y) {{ a = {op} y = Relu (a) }}",
        o=np.zeros(shape, np.float32),
        i=np.ones(shape, np.float32),
    )
    fires(RULE, model, "Relu")


def test_not_when_it_broadcasts() -> None:
    rests(
        RULE,
        build("(float[1,4] x) => (float[3,4] y) { y = Add (x, o) }", o=np.zeros((3, 4), np.float32)),
        "may broadcast",
    )


@pytest.mark.parametrize("op", ["Sub (o, x)", "Div (i, x)", "Mul (x, o)", "Add (x, i)"])
def test_nearly_neutral(op: str) -> None:
    model = build(f"(float[N,4] x) => (float[N,4] y) {{ y = {op} }}", o=np.zeros((), np.float32), i=np.ones((), np.float32))
    rests(RULE, model)


def test_nearly_all_ones() -> None:
    rests(RULE, build("(float[N,4] x) => (float[N,4] y) { y = Mul (x, k) }", k=np.asarray([1, 1, 1, 2], np.float32)))


def test_zeros_made_for_the_batch_at_hand() -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        s = Shape (x)
        z = ConstantOfShape (s)
        a = Add (x, z)
        y = Relu (a)
    }"""
    fires(RULE, build(text), "Relu")


def test_ones_made_for_the_batch_at_hand() -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        s = Shape (x)
        o = ConstantOfShape <value = float[1] {1}> (s)
        a = Mul (o, x)
        y = Relu (a)
    }"""
    fires(RULE, build(text), "Relu")
    rests(RULE, build(text.replace("{1}", "{2}")))
