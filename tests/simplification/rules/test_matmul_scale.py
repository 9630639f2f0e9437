"""A scalar after a product."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import SimplifyOptions
from tests.support.onnx_text import build, fires, floats, rests

RULE = "matmul+scale"
EIGHT = np.asarray(8.0, np.float32)


@pytest.mark.parametrize("scale", ["Div (a, c)", "Mul (a, c)", "Mul (c, a)"])
def test_a_scaled_linear_layer_has_scaled_weights(scale: str) -> None:
    text = f"(float[N,3,4] x) => (float[N,3,5] y) {{ m = MatMul (x, w) a = Add (b, m) y = {scale} }}"
    fires(RULE, build(text, w=floats(4, 5), b=floats(5), c=EIGHT), "MatMul Add")


@pytest.mark.parametrize("operands", ["q, k", "k, q"])
def test_attention_scales_its_queries_and_not_its_scores(operands: str) -> None:
    text = f"""(float[N,6,8] x, float[N,2,4,6] k0) => (float[N,2,6,6] y) {{
        m = MatMul (x, w)
        a = Add (m, b)
        r = Reshape (a, s)
        {
        "q = Transpose <perm=[0,2,1,3]> (r) k = Identity (k0)"
        if operands == "q, k"
        else "q = Transpose <perm=[0,2,3,1]> (r) k = Transpose <perm=[0,1,3,2]> (k0)"
    }
        p = MatMul ({operands})
        y = Div (p, c)
    }}"""
    model = build(text, w=floats(8, 8), b=floats(8), s=np.asarray([0, 6, 2, 4], np.int64), c=EIGHT)
    left = ("" if operands == "q, k" else "Transpose ") + "MatMul Add Reshape Transpose MatMul"
    report = fires(RULE, model, left)
    assert report.changed[RULE] == 1


def test_not_by_another_tensor() -> None:
    rests(RULE, build("(float[N,4] x, float c) => (float[N,5] y) { m = MatMul (x, w) y = Mul (m, c) }", w=floats(4, 5)))


def test_not_a_constant_divided() -> None:
    text = "(float[N,4] x) => (float[N,5] y) { m = MatMul (x, w) y = Div (c, m) }"
    rests(RULE, build(text, w=floats(4, 5), c=EIGHT))


def test_not_when_the_layer_is_read_elsewhere() -> None:
    text = "(float[N,4] x, float[N,4] k) => (float[N,5] y, float[N,5] z) { m = MatMul (x, w) y = Mul (m, c) z = Relu (m) }"
    rests(RULE, build(text, w=floats(4, 5), c=EIGHT))


def test_not_when_the_weights_are_shared_and_would_be_stored_twice() -> None:
    text = """(float[N,4] x) => (float[N,5] y, float[N,5] z) {
        m = MatMul (x, w)
        y = Mul (m, c)
        r = Relu (x)
        z = MatMul (r, w)
    }"""
    rests(RULE, build(text, w=floats(4, 5), c=EIGHT), "would grow", SimplifyOptions())


def test_nearly_a_product_of_a_layer_when_something_is_computed_between() -> None:
    text = """(float[N,4] x, float[5,3] k) => (float[N,3] y) {
        m = MatMul (x, w)
        r = Relu (m)
        p = MatMul (r, k)
        y = Mul (p, c)
    }"""
    rests(RULE, build(text, w=floats(4, 5), c=EIGHT), "neither factor")


def test_not_when_the_scaled_weights_would_be_beyond_their_type() -> None:
    text = "(float[N,4] x) => (float[N,5] y) { m = MatMul (x, w) y = Mul (m, c) }"
    large = np.asarray(1e20, np.float32)
    rests(RULE, build(text, w=floats(4, 5) * np.float32(1e25), c=large), "beyond its type")
