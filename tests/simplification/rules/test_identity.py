"""Identity and Dropout."""

from __future__ import annotations

import numpy as np

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, rests

RULE = "identities"


def test_an_identity_is_nothing() -> None:
    fires(RULE, build("(float[N,4] x) => (float[N,4] y) { a = Identity (x) b = Relu (a) y = Identity (b) }"), "Relu")


def test_dropout_outside_training_is_nothing() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a, m = Dropout (x, r, t) b = Dropout (a) y = Relu (b) }"
    fires(RULE, build(text, r=np.asarray(0.5, np.float32), t=np.asarray(False)), "Relu")


def test_before_opset_12_dropout_has_no_mode() -> None:
    fires(RULE, build("(float[N,4] x) => (float[N,4] y) { a = Dropout (x) y = Relu (a) }", opset=9), "Relu")


def test_not_when_an_output_would_be_an_input() -> None:
    model = build("(float[N,4] x) => (float[N,4] y) { y = Identity (x) }")
    rests(RULE, model, "keep its own name")
    assert [value.name for value in simplify(model)[0].graph.outputs] == ["y"]


def test_not_when_one_value_would_be_two_outputs() -> None:
    text = "(float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu (x) z = Identity (y) }"
    rests(RULE, build(text), "keep its own name")


def test_not_when_the_mask_is_read() -> None:
    text = "(float[N,4] x) => (float[N,4] y, bool[N,4] m) { y, m = Dropout (x) }"
    rests(RULE, build(text), "mask")


def test_nearly_outside_training() -> None:
    model = build(
        "(float[N,4] x, bool t) => (float[N,4] y) { a = Dropout <seed=1> (x, r, t) y = Relu (a) }",
        r=np.asarray(0.0, np.float32),
    )
    rests(RULE, model, "training mode")
