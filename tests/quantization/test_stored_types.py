"""Weights of other types than float32, and of other ops: taken by --weights or refused, and never a larger file."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import NothingGainedError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.graph.stored_weights.unpacking import pack_weights, unpack_weights
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model, types

N = 128
W = np.random.default_rng(0).standard_normal((N, N)).astype(np.float32) / 8
FORMATS = ("int8", "int4", "int8:qdq", "int4:qdq", "codebook:16")
#: The type of the input, the graph, the weight.
SOURCES = {
    "float16": ("float16", "y = MatMul (x, w)", W.astype(np.float16)),
    "float16 inside": ("float", "h = Cast <to=10> (x) \n m = MatMul (h, w) \n y = Cast <to=1> (m)", W.astype(np.float16)),
    "double": ("double", "y = MatMul (x, w)", W.astype(np.float64)),
    "stored in float16": ("float", "f = Cast <to=1> (w) \n y = MatMul (x, f)", W.astype(np.float16)),
    "stored in bfloat16": ("float", "f = Cast <to=1> (w) \n y = MatMul (x, f)", W.astype(ml_dtypes.bfloat16)),
    "stored in float16, for a Gemm": ("float", "f = Cast <to=1> (w) \n y = Gemm <transB=1> (x, f)", W.astype(np.float16)),
    "Einsum": ("float", 'y = Einsum <equation="nk,km->nm"> (x, w)', W),
    "Einsum, the weight first": ("float", 'y = Einsum <equation="mk,nk->nm"> (w, x)', W),
    "FusedMatMul": ("float", "y = com.microsoft.FusedMatMul <transB=1> (x, w)", W),
}


def build(source: str) -> ir.Model:
    dtype, text, w = SOURCES[source]
    made = model(f"g ({dtype}[n,{N}] x) => ({dtype}[n,{N}] y) {{ {text} }}", w=w)
    made.opset_imports["com.microsoft"] = 1
    return made


def run(made: ir.Model, optimize: bool) -> np.ndarray:
    dtype = made.graph.inputs[0].dtype
    assert dtype is not None
    x = np.random.default_rng(5).standard_normal((4, N)).astype(dtype.numpy())
    found: np.ndarray = Session(made, SessionConfig(optimize=optimize)).run({"x": x})["y"]
    return found


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize("source", SOURCES)
def test_weights_of_any_float_type_are_stored_in_fewer_bits(source: str, weights: str) -> None:
    original = build(source)
    result, report = quantize(original, None, QuantizeOptions(weights=weights))
    assert [(value.name, value.dtype) for value in result.graph.outputs] == [("y", original.graph.outputs[0].dtype)]
    assert len(model_file.to_bytes(result)) < 0.7 * len(model_file.to_bytes(original))
    assert any("weights" in what or "layers" in what for what in report.changed)
    for optimize in (True, False):
        expected, found = (run(one, optimize).astype(np.float64) for one in (original, result))
        assert np.square(expected - found).sum() < (1e-3 if "8" in weights else 0.04) * np.square(expected).sum()


@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize(
    "text", ["y = Relu (x)", "y = MatMul (x, w)", 'y = Einsum <equation="n...,...m->nm"> (x, v)', "y = Sub (x, v)"]
)
def test_where_nothing_changes_it_is_an_error_with_the_reason(text: str, weights: str) -> None:
    arrays = {"w": W[:8, :4], "v": W}
    used = {name: array for name, array in arrays.items() if f"{name})" in text}
    rows = 8 if "w" in used else N
    made = model(f"g (float[n,{rows}] x) => (float[n,m] y) {{ {text} }}", **used)
    with pytest.raises(UnsupportedError, match="nothing to quantise") as caught:
        quantize(made, None, QuantizeOptions(weights=weights))
    assert "v" not in used or "v: " in str(caught.value.hint)


@pytest.mark.parametrize("weights", FORMATS)
def test_a_table_whose_scales_weigh_more_than_its_codes_save_is_left(weights: str) -> None:
    table = np.tile(W, (4, 1))[:, :2].astype(np.float16)
    made = model("g (int64[n] x) => (float16[n,2] y) { y = Gather (w, x) }", w=table)
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(made, None, QuantizeOptions(weights=weights))


def test_a_file_that_would_be_larger_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1000, 1000])
    monkeypatch.setattr("onnxslim.quantization.step.measure_bytes", lambda model: next(sizes))
    with pytest.raises(NothingGainedError, match="the file would have 1000 bytes for 1000"):
        quantize(build("double"), None, QuantizeOptions(weights="int8"))


@pytest.mark.parametrize("source", ["stored in float16", "stored in bfloat16"])
def test_what_no_scheme_changes_is_stored_as_it_was(source: str) -> None:
    prepared = build(source)
    expected = run(prepared, optimize=False)
    stored = unpack_weights(prepared)
    assert {value.dtype for value in prepared.graph.initializers.values()} == {ir.DataType.FLOAT}
    pack_weights(prepared, stored)
    assert {value.dtype for value in prepared.graph.initializers.values()} == {ir.DataType[source.split()[-1].upper()]}
    np.testing.assert_array_equal(run(prepared, optimize=False), expected)


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_weights_behind_a_cast_are_int8_too(activations: str) -> None:
    original = build("stored in float16")
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((16, N)).astype(np.float32)}, original)
    result, report = quantize(original, samples, QuantizeOptions(activations=activations, placement="static", target="cpu"))
    assert report.changed["layers in int8"] == 1
    assert not types(result, "Cast") & {ir.DataType.FLOAT16}


@pytest.mark.parametrize(("source", "said"), [("float16", True), ("double", True), ("stored in float16", False)])
def test_layers_that_cannot_have_4_bits_are_said(source: str, said: bool) -> None:
    _, report = quantize(build(source), None, QuantizeOptions(weights="int4"))
    assert any("4 bits are for float32 layers: the weights of 1 " in line for line in report.warnings) == said
