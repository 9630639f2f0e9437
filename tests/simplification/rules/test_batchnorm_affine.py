"""BatchNormalization(x) · c + d where no Conv precedes."""

from __future__ import annotations

import numpy as np

from tests.support.onnx_text import build, fires, floats, rests

RULE = "batchnorm+scale"
NORM = {"s": floats(6, seed=1), "h": floats(6, seed=2), "m": floats(6, seed=3), "v": np.abs(floats(6, seed=4))}


def test_the_scale_and_shift_after_it_become_its_own() -> None:
    text = """(float[N,6,3,3] x) => (float[N,6,3,3] y) {
        n = BatchNormalization (x, s, h, m, v)
        p = Mul (n, k)
        y = Add (d, p)
    }"""
    fires(RULE, build(text, k=floats(6, 1, 1), d=floats(1, 6, 1, 1), **NORM), "BatchNormalization")


def test_not_when_it_is_read_elsewhere() -> None:
    text = """(float[N,6,3,3] x) => (float[N,6,3,3] y, float[N,6,3,3] z) {
        n = BatchNormalization (x, s, h, m, v)
        y = Mul (n, k)
        z = Relu (n)
    }"""
    rests(RULE, build(text, k=floats(6, 1, 1), **NORM), "read elsewhere")


def test_nearly_a_row_instead_of_a_channel() -> None:
    text = "(float[N,6,3,3] x) => (float[N,6,3,3] y) { n = BatchNormalization (x, s, h, m, v) y = Mul (n, k) }"
    rests(RULE, build(text, k=floats(3), **NORM), "not one number for each channel")
