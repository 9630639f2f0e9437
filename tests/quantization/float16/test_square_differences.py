"""A variance as the mean of the squares less the square of the mean."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph.shapes import infer
from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.float16.fallback import convert_copy, simulate
from onnxslim.quantization.float16.float32_nodes import find_float32_nodes
from onnxslim.quantization.float16.square_differences import find_square_differences
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

VARIANCE = """h = MatMul(x, w)\n m = ReduceMean<axes=[1]>(h)\n s = Mul(h, h)\n v = ReduceMean<axes=[1]>(s)\n q = Mul(m, m)
  d = Sub(v, q)\n c = Max(d, z)\n e = Add(c, eps)\n r = Sqrt(e)\n i = Reciprocal(r)\n o = Sub(h, m)\n n0 = Mul(o, i)
  y = MatMul(n0, w)"""
HEAD = "g (float[n,64] x) => (float[n,64] y)"


def find(body: str, **arrays: np.ndarray) -> list[str]:
    found = model(f"{HEAD} {{ {body} }}", **{name: np.asarray(array) for name, array in arrays.items()})
    infer(found)
    name_nodes(found.graph.all_nodes())
    return [str(node.outputs[0].name) for node in find_square_differences(list(found.graph))]


@pytest.mark.parametrize("has_data", [False, True])
def test_a_variance_is_what_it_was_on_a_device(has_data: bool) -> None:
    """What is left of two numbers near 10 000 whose difference is near 1; data say of neither that it is large."""
    rng = np.random.default_rng(0)
    w = np.eye(64, dtype=np.float32) + 0.001 * rng.standard_normal((64, 64)).astype(np.float32)
    original = model(f"{HEAD} {{ {VARIANCE} }}", w=w, z=np.asarray(np.float32(0)), eps=np.asarray(np.float32(1e-6)))
    infer(original)
    name_nodes(original.graph.all_nodes())
    peaks = {str(value.name): 4000.0 for node in original.graph for value in node.outputs} if has_data else {}
    kept = {str(node.name): why for node, why in find_float32_nodes(original, peaks).items()}
    rounded = simulate(original, convert_copy(original, kept))
    x = 100 + rng.standard_normal((4, 64)).astype(np.float32)
    expected, found = (Session(m).run({"x": x})["y"] for m in (original, rounded))
    np.testing.assert_allclose(found, expected, atol=0.1 * np.abs(expected).max())
    assert not any(node.name in kept for node in original.graph if node.op_type == "MatMul")


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (VARIANCE, ["m", "s", "v", "q", "d"]),
        ("s = Pow(x, two)\n a = Mul(s, half)\n t = Abs(x)\n q = Mul(t, t)\n y = Sub(a, q)", ["s", "a", "q", "y"]),
        ("s = Mul(x, x)\n y = Sub(s, x)", []),
        ("s = Mul(x, x)\n t = Tanh(s)\n q = Mul(x, x)\n y = Sub(t, q)", []),
        ("s = Mul(x, x)\n q = Mul(x, x)\n y = Add(s, q)", []),
        ("s = Pow(x, three)\n q = Mul(x, x)\n y = Sub(s, q)", []),
    ],
)
def test_only_a_difference_of_two_squares_is_one(body: str, kept: list[str]) -> None:
    arrays = {"w": np.eye(64, dtype=np.float32), "z": np.float32(0), "eps": np.float32(1e-6), "two": np.float32(2),
              "three": np.float32(3), "half": np.float32(0.5)}  # fmt: skip
    assert find(body, **{name: array for name, array in arrays.items() if f", {name})" in body}) == kept
