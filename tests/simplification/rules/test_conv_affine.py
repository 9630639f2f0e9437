"""Conv(x, W, b) · c + d."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import SimplifyOptions
from tests.support.onnx_text import build, fires, floats, rests

RULE = "conv+scale"


@pytest.mark.parametrize("op", ["Mul (c, k)", "Mul (k, c)", "Add (c, k)", "Sub (c, k)", "Sub (k, c)", "Div (c, k)"])
@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1, 1, 1), ()])
def test_one_number_for_each_channel_goes_into_the_weights(op: str, shape: tuple[int, ...]) -> None:
    text = f"(float[N,4,5,5] x) => (float[N,6,3,3] y) {{ c = Conv (x, w, b) y = {op} }}"
    fires(RULE, build(text, w=floats(6, 4, 3, 3), b=floats(6), k=floats(*shape, seed=1)), "Conv")


def test_a_transposed_convolution_and_a_gemm_too() -> None:
    after = "m = Mul (c, k) y = Add (m, k)"
    text = f"(float[N,4,5,5] x) => (float[N,6,7,7] y) {{ c = ConvTranspose <group=2> (x, w) {after} }}"
    fires(RULE, build(text, w=floats(4, 3, 3, 3), k=floats(6, 1, 1)), "ConvTranspose")
    text = f"(float[N,4] x) => (float[N,6] y) {{ c = Gemm (x, w) {after} }}"
    fires(RULE, build(text, w=floats(4, 6), k=floats(6)), "Gemm")


def test_not_a_number_for_each_position() -> None:
    text = "(float[N,4,5,5] x) => (float[N,6,3,3] y) { c = Conv (x, w) y = Mul (c, k) }"
    rests(RULE, build(text, w=floats(6, 4, 3, 3), k=floats(3, 1)), "not one number for each channel")


def test_not_a_weight_that_another_layer_shares_when_that_would_store_it_twice() -> None:
    text = """(float[N,4,5,5] x) => (float[N,6,3,3] y, float[N,6,3,3] z) {
        c = Conv (x, w)
        y = Mul (c, k)
        r = Relu (x)
        z = Conv (r, w)
    }"""
    model = build(text, w=floats(6, 4, 3, 3), k=floats(6, 1, 1))
    rests(RULE, model, "the file would grow", SimplifyOptions())


def test_nearly_a_constant_divided_by_the_convolution() -> None:
    text = "(float[N,4,5,5] x) => (float[N,6,3,3] y) { c = Conv (x, w) y = Div (k, c) }"
    rests(RULE, build(text, w=floats(6, 4, 3, 3), k=floats(6, 1, 1)))


def test_nearly_a_constant_that_adds_an_axis() -> None:
    text = "(float[N,4,5,5] x) => (float[1,N,6,3,3] y) { c = Conv (x, w) y = Mul (c, k) }"
    rests(RULE, build(text, w=floats(6, 4, 3, 3), k=np.ones((1, 1, 1, 1, 1), np.float32) * 2))
