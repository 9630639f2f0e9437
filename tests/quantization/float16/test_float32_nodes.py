"""What stays in float32, and why: with data by its range, without by what the op may do."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.shapes import infer
from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.float16.float32_nodes import find_float32_nodes
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

CUDA = QuantizeOptions(target="cuda")
#: Normalizations as exporters write them out.
NORMS = {
    "variance": """m = ReduceMean<axes=[1]>(h)\n d = Sub(h, m)\n p = Pow(d, two)\n v = ReduceMean<axes=[1]>(p)
                   e = Add(v, eps)\n s = Sqrt(e)\n q = Div(d, s)""",
    "square": "p = Mul(h, h)\n v = ReduceMean<axes=[1]>(p)\n e = Add(v, eps)\n s = Sqrt(e)\n q = Div(h, s)",
    "length": "s = ReduceL2<axes=[1]>(h)\n e = Max(s, eps)\n q = Div(h, e)",
    "softmax": "t = Mul(h, small)\n p = Exp(t)\n s = ReduceSum(p, one)\n q = Div(p, s)",
}
ARRAYS = {"two": np.float32(2), "eps": np.float32(1e-3), "small": np.float32(1e-3), "one": np.array([1])}


def find_kept(text: str, **arrays: np.ndarray) -> set[str]:
    """The ops that stay without data."""
    found = model(text, **{name: np.asarray(array) for name, array in arrays.items()})
    infer(found)
    name_nodes(found.graph.all_nodes())
    return {node.op_type for node in find_float32_nodes(found, {})}


@pytest.mark.parametrize("norm", NORMS)
def test_a_normalization_of_large_numbers_is_right_without_data(norm: str) -> None:
    """Squares of 4 000 are infinite in float16; nobody has to know that they occur."""
    text = f"g (float[n,64] x) => (float[n,64] y) {{ h = MatMul(x, w)\n {NORMS[norm]}\n y = MatMul(q, w) }}"
    used = {name: np.asarray(array) for name, array in ARRAYS.items() if f"{name})" in text}
    rng = np.random.default_rng(0)
    original = model(text, w=rng.standard_normal((64, 64)).astype(np.float32), **used)
    x = rng.standard_normal((4, 64)).astype(np.float32) * 500
    result, report = quantize(original, None, CUDA)
    assert sum(n.op_type == "MatMul" and n.outputs[0].dtype == ir.DataType.FLOAT16 for n in result.graph) == 2
    assert any("no data to tell" in entry.reason for entry in report.skipped)
    expected, found = (Session(m).run({"x": x})["y"] for m in (original, result))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())


def test_with_data_that_stay_small_the_same_norm_is_float16() -> None:
    text = f"g (float[n,64] x) => (float[n,64] y) {{ h = Tanh(x)\n {NORMS['length']}\n y = Neg(q) }}"
    original = model(text, eps=ARRAYS["eps"].reshape(()))
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)}, original)
    result, _ = quantize(original, samples, CUDA)
    assert {n.outputs[0].dtype for n in result.graph if n.op_type == "ReduceL2"} == {ir.DataType.FLOAT16}


def test_what_stands_between_two_that_stay_stays_and_nothing_else() -> None:
    between = "a = Neg(x)\n b = Exp(a)\n c = Add(b, k)\n d = Abs(c)\n e = Log(d)\n y = Neg(e)"
    assert find_kept(f"g (float[n,8] x) => (float[n,8] y) {{ {between} }}", k=np.float32(1)) == {"Exp", "Add", "Abs", "Log"}


@pytest.mark.parametrize(
    ("expression", "stays"), [("Div(x, k)", False), ("Div(k, x)", True), ("Mul(x, x)", True), ("Mul(x, k)", False)]
)
def test_a_quotient_by_a_constant_is_float16_and_a_square_is_not(expression: str, stays: bool) -> None:
    kept = find_kept(
        f"g (float[n,8] x) => (float[n,8] y) {{ y = {expression} }}", **({"k": np.float32(8)} if "k" in expression else {})
    )
    assert bool(kept) is stays


@pytest.mark.parametrize("mask", ["ConstantOfShape <value = float[1] {-3e38}> (sizes)", "Expand(k, sizes)"])
def test_a_mask_beyond_the_range_that_is_multiplied_by_zeros_makes_no_nan_without_data(mask: str) -> None:
    text = f"""g (float[n,8] x) => (float[n,8] y) {{ sizes = Shape(x)\n m = {mask}\n b = Greater(x, t)
      f = Cast <to = 1> (b)\n r = Unsqueeze(m, zero)\n o = Mul(r, f)
      s = Squeeze(o, zero)\n a = Add(x, s)\n y = Softmax(a) }}"""
    arrays = {"t": np.float32(1.0), "zero": np.array([0]), **({"k": np.array([[-3e38]], np.float32)} if "k" in mask else {})}
    kept = (
        {"ConstantOfShape", "Unsqueeze", "Mul", "Squeeze"} if "k" not in mask else {"Expand", "Unsqueeze", "Mul", "Squeeze"}
    )
    assert find_kept(text, **arrays) == kept | {"Add", "Softmax"}
    original = model(text, **{name: np.asarray(array) for name, array in arrays.items()})
    result, _ = quantize(original, None, CUDA)
    x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    expected, found = (Session(m).run({"x": x})["y"] for m in (original, result))
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("mask", ["Where(seen, x, low)", "s = Cast <to = 1> (hidden)\n t = Mul(s, low)\n a = Add(x, t)"])
def test_a_row_that_is_masked_whole_is_what_it_was_without_data(mask: str) -> None:
    body = mask if "\n" in mask else f"a = {mask}"
    text = f"""g (float[n,8] x) => (float[n,8] y) {{ hidden = Greater(x, t0)\n seen = Not(hidden)
      {body}\n p = Softmax(a)\n y = MatMul(p, w) }}"""
    rng = np.random.default_rng(0)
    arrays = {"t0": np.float32(1.0), "low": np.float32(-1e9), "w": rng.standard_normal((8, 8)).astype(np.float32)}
    original = model(text, **{name: np.asarray(array) for name, array in arrays.items()})
    result, _ = quantize(original, None, CUDA)
    x = rng.standard_normal((4, 8)).astype(np.float32)
    x[1] = 5
    expected, found = (Session(m).run({"x": x})["y"] for m in (original, result))
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert [n.op_type for n in result.graph if n.outputs[0].dtype == ir.DataType.FLOAT16][-1] == "MatMul"
