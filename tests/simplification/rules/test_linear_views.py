"""Linear layers between two Reshapes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_text import build, fires, floats, rests

RULE = "matmul+add between reshapes"


def windowed(add: str = "Add (m, b)", **more):
    text = f"""(float[N,6,8] x, float[10] fed) => (float[A,2,6,5] y{more.pop("outputs", "")}) {{
        t = Transpose <perm = [1, 0, 2]> (x)
        v = Reshape (t, rows)
        m = MatMul (v, w)
        a = {add}
        y = Reshape (a, target)
        {more.pop("lines", "")}
    }}"""
    arrays = {"b": floats(10), "w": floats(8, 10), "target": np.asarray([-1, 2, 6, 5]), **more}
    return build(text, rows=np.asarray([-1, 3, 8]), **arrays)


@pytest.mark.parametrize("add", ["Add (m, b)", "Add (b, m)"])
@pytest.mark.parametrize("shape", [(10,), (1, 1, 10), (1,), ()])
def test_a_linear_layer_between_reshapes_is_a_gemm(add: str, shape: tuple[int, ...]) -> None:
    fires(RULE, windowed(add, b=floats(*shape)), "Transpose Reshape Gemm Reshape")


def test_not_for_a_bias_that_differs_between_rows() -> None:
    rests(RULE, windowed(b=floats(3, 10)), "not one row")


def test_not_for_a_bias_that_is_fed() -> None:
    rests(RULE, windowed("Add (m, fed)"))


@pytest.mark.parametrize("also", ["v", "m", "a"])
def test_not_when_something_between_is_read_elsewhere(also: str) -> None:
    rests(RULE, windowed(outputs=", float[A,B,C] z", lines=f"z = Relu ({also})"), "read elsewhere")


def test_not_without_a_reshape_before() -> None:
    model = build(
        """(float[N,6,8] x) => (float[A,2,6,5] y) { m = MatMul (x, w) a = Add (m, b) y = Reshape (a, target) }""",
        w=floats(8, 10),
        b=floats(10),
        target=np.asarray([-1, 2, 6, 5]),
    )
    rests(RULE, model)
