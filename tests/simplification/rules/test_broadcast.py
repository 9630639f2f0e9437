"""Operands blown up to a size that the op gives them anyway."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import SimplifyOptions
from tests.support.onnx_text import build, fires, floats, rests

RULE = "expanded operands"


@pytest.mark.parametrize("op", ["Add (x, e)", "Mul (e, x)", "Max (x, e, x)", "Where (c, x, e)"])
def test_a_scalar_is_not_blown_up(op: str) -> None:
    model = build(
        f"""(float[N,M] x, bool[N,M] c) => (float[N,M] y) {{
            s = Shape (x)
            e = Expand (k, s)
            y = {op}
        }}""",
        k=np.float32(3),
    )
    fires(RULE, model, op.split()[0])


def test_a_row_under_a_mask() -> None:
    model = build(
        """(float[N,M] x) => (float[N,M] y) {
            c = Greater (x, zero)
            s = Shape (c)
            e = Expand (k, s)
            y = Where (c, x, e)
        }""",
        k=floats(1, 1),
        zero=np.float32(0),
    )
    fires(RULE, model, "Greater Where")


def test_two_expanded_operands_leave_one() -> None:
    model = build(
        """(float[N,1] x, float[1,M] w) => (float[N,M] y) {
            one = Constant <value = int64[1] {1}> ()
            n = Shape <start = 0, end = 1> (x)
            m = Shape <start = 1, end = 2> (w)
            s = Concat <axis = 0> (n, m)
            a = Expand (x, s)
            b = Expand (w, s)
            y = Add (a, b)
        }"""
    )
    fires(RULE, model, "Add")


def test_not_when_the_result_would_be_smaller() -> None:
    model = build("""(float[1,4] x, int64[2] s) => (float[N,4] y) { e = Expand (x, s) y = Mul (e, k) }""", k=floats(1, 4))
    rests(RULE, model, "nothing else is known")


def test_not_when_an_axis_would_be_missing() -> None:
    text = """(float[N,4] x) => (float[1,N,4] y) { s = Shape (x) t = Concat <axis = 0> (one, s) e = Expand (k, t)
        y = Add (x, e) }"""
    rests(RULE, build(text, k=np.float32(2), one=np.asarray([1])), "nothing else is known")


SHORT_ROWS = "(float[2,3,4] x) => (float[2,3,4] y) { m = ReduceMax <axes = [2]> (x) e = Expand (m, s)"


def test_not_a_constant_that_the_runtime_blows_up_once() -> None:
    text = "(float[8,28] x, float[8,28] w) => (float[8,28] y) { e = Expand (c, s) a = Mul (x, e) y = Add (a, w) }"
    rests(RULE, build(text, c=floats(28), s=np.asarray([8, 28])), "slower", SimplifyOptions(max_fold_bytes=0))


def test_not_when_short_rows_are_blown_up_for_another_reader_anyway() -> None:
    text = f"{SHORT_ROWS} a = Sub (x, e) b = Softmax (e) y = Add (a, b) }}"
    rests(RULE, build(text, s=np.asarray([2, 3, 4])), "stretches of 4")


def test_not_when_short_rows_serve_three_readers() -> None:
    text = f"{SHORT_ROWS} a = Sub (x, e) b = Mul (a, e) y = Add (b, e) }}"
    rests(RULE, build(text, s=np.asarray([2, 3, 4])), "stretches of 4")


def test_short_rows_of_one_reader() -> None:
    fires(RULE, build(f"{SHORT_ROWS} y = Sub (x, e) }}", s=np.asarray([2, 3, 4])), "ReduceMax Sub")
