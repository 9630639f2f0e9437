"""MatMul(A, B) + c."""

from __future__ import annotations

import pytest

from tests.support.onnx_text import build, fires, floats, rests

RULE = "matmul+add"


@pytest.mark.parametrize("shape", [(5,), (1, 5), (), (1,)])
@pytest.mark.parametrize("add", ["Add (m, b)", "Add (b, m)"])
def test_matrices_and_a_row_are_a_gemm(shape: tuple[int, ...], add: str) -> None:
    text = f"(float[N,4] x) => (float[N,5] y) {{ m = MatMul (x, w) y = {add} }}"
    fires(RULE, build(text, w=floats(4, 5), b=floats(*shape, seed=1)), "Gemm")


def test_the_row_may_come_from_the_caller() -> None:
    fires(
        RULE,
        build("(float[N,4] x, float[5] b) => (float[N,5] y) { m = MatMul (x, w) y = Add (m, b) }", w=floats(4, 5)),
        "Gemm",
    )


def test_not_with_more_axes() -> None:
    text = "(float[N,3,4] x) => (float[N,3,5] y) { m = MatMul (x, w) y = Add (m, b) }"
    rests(RULE, build(text, w=floats(4, 5), b=floats(5)))


def test_not_when_the_product_is_read_elsewhere() -> None:
    text = "(float[N,4] x) => (float[N,5] y, float[N,5] z) { m = MatMul (x, w) y = Add (m, b) z = Relu (m) }"
    rests(RULE, build(text, w=floats(4, 5), b=floats(5)), "read elsewhere")


def test_nearly_a_row_that_would_broadcast_the_product() -> None:
    text = "(float[1,4] x, float[N,5] b) => (float[N,5] y) { m = MatMul (x, w) y = Add (m, b) }"
    rests(RULE, build(text, w=floats(4, 5)), "broadcast")
