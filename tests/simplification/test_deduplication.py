"""Equal initializers are stored once, nearly equal ones are not."""

from __future__ import annotations

import numpy as np

from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.onnx_text import build, equal, floats


def test_what_two_branches_compute_alike_is_not_taken_out_of_them() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        y = If (c) <
            then_branch = t () => (float[N,4] a) { e = Exp (x) a = Add (e, x) },
            else_branch = f () => (float[N,4] b) { e = Exp (x) b = Sub (e, x) }>
    }"""
    model = build(text)
    result, report = simplify(model)
    assert not report.changed
    equal(model, result)


def test_equal_weights_are_stored_once_and_nearly_equal_ones_twice() -> None:
    w = floats(128, 128)
    nearly = w.copy()
    nearly[64, 3] += 1e-3
    text = """(float[N,128] x) => (float[N,128] y) {
        a = MatMul (x, w1)
        b = MatMul (a, w2)
        c = MatMul (b, w3)
        y = MatMul (c, turned)
    }"""
    turned = w.reshape(64, 256).reshape(128, 128)
    result, report = simplify(build(text, w1=w, w2=nearly, w3=w.copy(), turned=turned))
    assert report.changed == {"stored once": 2}
    assert len(result.graph.initializers) == 2


def test_equal_bytes_of_another_type_or_shape_are_not_merged() -> None:
    text = "(int32[N,4] x) => (int32[N,4] y, float[N,4] z) { y = Add (x, a) f = Cast <to=1> (x) z = Add (f, b) }"
    model = build(text, a=np.zeros((1, 4), np.int32) + 7, b=(np.zeros((1, 4), np.int32) + 7).view(np.float32))
    assert "stored once" not in simplify(model)[1].changed


def test_a_node_whose_merging_is_left_out_is_computed_twice() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a = Exp (x) b = Exp (x) c = Tanh (a) d = Sin (b) y = Add (c, d) }"
    merged = simplify(build(text))[1].decision.rewrites
    assert merged == ("computed once at b",)
    result, report = simplify(build(text), SimplifyOptions(leave_out=merged))
    assert not report.changed
    assert len(list(result.graph)) == 5
