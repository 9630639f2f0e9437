"""Scales on either side of a product."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, floats, rests

RULE = "scales joined"


def product(left: str, right: str, outputs: str = "", more: str = "", **arrays: np.ndarray):
    text = f"""(float[N,4,8] q, float[N,8,4] k) => (float[N,4,4] y{outputs}) {{
        a = {left}
        b = {right}
        y = MatMul (a, b)
        {more}
    }}"""
    return build(text, c=np.float32(0.5), d=np.asarray([0.25], np.float32), row=floats(4), **arrays)


@pytest.mark.parametrize(("left", "right"), [("Mul (q, c)", "Mul (k, d)"), ("Mul (c, q)", "Mul (d, k)")])
def test_two_scales_become_one(left: str, right: str) -> None:
    model = product(left, right)
    fires(RULE, model, "Mul MatMul")
    (scale,) = simplify(model)[0].graph.initializers.values()
    assert scale.const_value is not None
    assert scale.const_value.numpy() == np.float32(0.125)


def test_not_for_a_factor_that_is_a_vector() -> None:
    rests(RULE, product("Mul (q, c)", "Mul (k, row)"))


def test_not_for_one_scale() -> None:
    rests(RULE, product("Mul (q, c)", "Relu (k)"))


def test_not_when_a_scaled_factor_is_read_elsewhere() -> None:
    model = product("Mul (q, c)", "Mul (k, d)", ", float[N,4,8] z", "z = Relu (a)")
    rests(RULE, model, "read elsewhere")
