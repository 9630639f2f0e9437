"""float16 beside ops whose types ONNX does not infer, and beside sequences and optionals: it loads, and is right."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.compat.drop_in import slim
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model, types

N = 32
RNG = np.random.default_rng(0)
WEIGHTS = {name: (RNG.standard_normal((N, N)) / 6).astype(np.float32) for name in ("u", "v")} | {
    "b": RNG.standard_normal(N).astype(np.float32),
    "one": np.array(1),
    "zero": np.array(0),
}
MS = "com.microsoft"
#: What stands between two layers, from h to a.
BETWEEN = {
    "Gelu": f"a = {MS}.Gelu (h)",
    "FastGelu with a bias": f"a = {MS}.FastGelu (h, b)",
    "BiasGelu": f"a = {MS}.BiasGelu (h, b)",
    "QuickGelu": f"a = {MS}.QuickGelu (h)",
    "FusedMatMul": f"a = {MS}.FusedMatMul <transB=1> (h, v)",
    "two in a row": f"c = {MS}.QuickGelu (h) \n d = Add (c, h) \n a = {MS}.BiasGelu (d, b)",
    "SkipLayerNormalization": f"a = {MS}.SkipLayerNormalization (h, x, b, b)",
    "behind a sum with another": f"c = {MS}.QuickGelu (h) \n e = Tanh (c) \n a = Add (e, h)",
    "SequenceConstruct": "r = Relu (h) \n s = SequenceConstruct (h, r) \n a = SequenceAt (s, one)",
    "SplitToSequence": "s = SplitToSequence <axis=0> (h, one) \n c = ConcatFromSequence <axis=0> (s) \n a = Tanh (c)",
    "SequenceEmpty": "e = SequenceEmpty () \n s = SequenceInsert (e, h) \n a = SequenceAt (s, zero)",
    "Optional": "o = Optional (h) \n a = OptionalGetElement (o)",
    "SequenceMap": """s = SequenceConstruct (h, x)
        m = SequenceMap (s) <body = neg (float[n,32] i) => (float[n,32] k) { k = Neg (i) }>
        a = SequenceAt (m, one)""",
    "a sequence from an If": """s = If (yes) <
          then_branch = p () => (seq(float[n,32]) t) { t = SequenceConstruct (h, x) },
          else_branch = q () => (seq(float[n,32]) e) { e = SequenceConstruct (x, h) }
        >
        a = SequenceAt (s, zero)""",
}


def build(between: str) -> ir.Model:
    text = f"h = MatMul (x, u) \n {BETWEEN[between]} \n y = MatMul (a, v)"
    arrays = {name: array for name, array in WEIGHTS.items() if any(f"{name}{end}" in text for end in ",)")}
    if "(yes)" in text:
        arrays["yes"] = np.array(True)
    made = model(f"g (float[n,32] x) => (float[n,32] y) {{ {text} }}", **arrays)
    made.opset_imports[MS] = 1
    return made


def assert_close(original: ir.Model, result: ir.Model) -> None:
    x = np.random.default_rng(4).standard_normal((5, N)).astype(np.float32)
    for optimize in (False, True):
        config = SessionConfig(optimize=optimize)
        expected = Session(original, config).run({"x": x})["y"]
        dtype = result.graph.inputs[0].dtype
        assert dtype is not None
        found = Session(result, config).run({"x": x.astype(dtype.numpy())})["y"]
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("has_data", [True, False])
@pytest.mark.parametrize("between", BETWEEN)
def test_what_cannot_be_float16_has_casts_around_it(between: str, has_data: bool) -> None:
    original = build(between)
    x = np.random.default_rng(1).standard_normal((16, N)).astype(np.float32)
    samples = open_samples({"x": x}, original) if has_data else None
    result, _ = quantize(original, samples, QuantizeOptions(target="cuda"))
    assert ir.DataType.FLOAT16 in types(result, "MatMul") | types(result, "Relu")
    assert_close(original, result)


@pytest.mark.parametrize("between", BETWEEN)
def test_the_drop_in_converts_inputs_and_outputs_too(between: str) -> None:
    original = build(between)
    proto = slim(model_file.to_bytes(original), dtype="fp16")
    assert proto is not None
    result = model_file.load(proto)
    assert {value.dtype for value in (*result.graph.inputs, *result.graph.outputs)} == {ir.DataType.FLOAT16}
    assert_close(original, result)


def test_what_follows_an_op_of_a_library_that_is_not_here_stays_float32() -> None:
    text = "h = MatMul (x, u) \n a = no.such.Op (h) \n y = MatMul (a, v)"
    original = model(f"g (float[n,32] x) => (float[n,32] y) {{ {text} }}", u=WEIGHTS["u"], v=WEIGHTS["v"])
    original.opset_imports["no.such"] = 1
    result, report = quantize(original, None, QuantizeOptions(target="cuda"))
    reader = next(node for node in result.graph if node.op_type == "Op")
    assert reader.inputs[0] is not None
    assert reader.inputs[0].dtype == ir.DataType.FLOAT
    assert any("is not known" in entry.reason for entry in report.skipped)
    assert types(result, "MatMul") == {ir.DataType.FLOAT16, ir.DataType.FLOAT}


def test_tensors_that_were_float16_stay_what_they_were() -> None:
    original = model(
        """g (float[n,32] x, float16[n,32] k) => (float[n,32] y, float16[n,32] z) {
          h = MatMul (x, u)
          z = Relu (k)
          c = Cast <to=1> (z)
          y = Add (h, c)
        }""",
        u=WEIGHTS["u"],
    )
    result, _ = quantize(original, None, QuantizeOptions(target="cuda"))
    assert [value.dtype for value in result.graph.outputs] == [ir.DataType.FLOAT, ir.DataType.FLOAT16]
    x = np.ones((2, N), np.float32)
    feed = {"x": x, "k": x.astype(np.float16)}
    np.testing.assert_allclose(Session(result).run(feed)["y"], Session(original).run(feed)["y"], atol=0.02)
