"""The norm by the root mean square, as PyTorch exports it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.simplification.step import simplify
from tests.support.onnx_text import ROOM, build, fires, floats, rests

RULE = "root mean squares"
TEXT = """(float[N,5,16] x) => (float[N,5,16] y) {{
    p = Pow (x, two) m = ReduceMean <axes=[{axis}], keepdims={kept}> (p) a = Add (m, eps) s = Sqrt (a)
    r = {reciprocal} n = Mul ({product}) y = {end} }}"""
ARRAYS = {"two": np.float32(2), "eps": np.float32(1e-6), "w": floats(16), "one": np.float32(1), "v": floats(5, 16)}


def norm(
    reciprocal: str = "Reciprocal (s)", product: str = "x, r", end: str = "Mul (w, n)", axis: int = -1, kept: int = 1
) -> str:
    return TEXT.format(reciprocal=reciprocal, product=product, end=end, axis=axis, kept=kept)


@pytest.mark.parametrize("reciprocal", ["Reciprocal (s)", "Div (one, s)"])
@pytest.mark.parametrize("product", ["x, r", "r, x"])
@pytest.mark.parametrize("end", ["Mul (w, n)", "Mul (n, w)"])
def test_a_product_with_the_reciprocal_is_a_division_that_the_runtime_fuses(reciprocal: str, product: str, end: str) -> None:
    model = build(norm(reciprocal, product, end), **ARRAYS)
    fires(RULE, model, "Pow ReduceMean Add Sqrt Div Mul")
    assert [node.op_type for node in read_optimized_graph(simplify(model, ROOM)[0]).graph] == [
        "SimplifiedLayerNormalization"
    ]


def test_an_epsilon_may_come_first_and_a_square_be_a_product() -> None:
    text = norm().replace("Add (m, eps)", "Add (eps, m)").replace("Pow (x, two)", "Mul (x, x)")
    model = build(text, **ARRAYS)
    fires(RULE, model, "Pow ReduceMean Add Sqrt Div Mul")
    assert [node.op_type for node in read_optimized_graph(simplify(model, ROOM)[0]).graph] == [
        "SimplifiedLayerNormalization"
    ]


@pytest.mark.parametrize(("square", "divided"), [("Pow (d, two)", False), ("Mul (d, d)", False), ("Mul (d, d)", True)])
def test_with_what_differs_from_the_mean_it_is_a_layer_norm(square: str, divided: bool) -> None:
    text = f"""(float[N,5,16] x) => (float[N,5,16] y) {{
        u = ReduceMean <axes=[-1]> (x) d = Sub (x, u) p = {square} m = ReduceMean <axes=[-1]> (p) a = Add (m, eps)
        s = Sqrt (a) {"" if divided else "r = Reciprocal (s)"} n = {"Div (d, s)" if divided else "Mul (d, r)"}
        k = Mul (n, w) y = Add (k, b) }}"""
    model = build(text, **ARRAYS, b=floats(16, seed=1))
    fires(RULE, model, "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add")
    assert [node.op_type for node in read_optimized_graph(simplify(model, ROOM)[0]).graph] == ["LayerNormalization"]


def test_what_the_runtime_knows_is_left_alone() -> None:
    rests(RULE, build(norm(product="x, s").replace("n = Mul", "n = Div").replace("r = Reciprocal (s) ", ""), **ARRAYS))


def test_not_without_weights() -> None:
    rests(RULE, build(norm(end="Relu (n)"), **ARRAYS), "slower")


def test_not_with_weights_for_each_row() -> None:
    rests(RULE, build(norm(end="Mul (n, v)"), **ARRAYS), "slower")


def test_not_where_the_reciprocal_is_read_elsewhere() -> None:
    rests(
        RULE, build(norm(end="Mul (n, w) z = Relu (r)").replace("y)", "y, float[N,5,1] z)", 1), **ARRAYS), "read elsewhere"
    )


@pytest.mark.parametrize("text", [norm(axis=1), norm("Div (two, s)"), norm(product="p, r")])
def test_nearly_the_norm(text: str) -> None:
    rests(RULE, build(text, **ARRAYS))


def test_not_where_the_one_that_is_divided_adds_an_axis() -> None:
    text = norm("Div (one, s)").replace("float[N,5,16] y", "float[1,N,5,16] y")
    _, report = simplify(build(text, **ARRAYS | {"one": np.ones((1, 1, 1, 1), np.float32)}), ROOM)
    assert (RULE in report.changed, report.skipped) == (False, []), "a wrong shape would cost all rules that round"
