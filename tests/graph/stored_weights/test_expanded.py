"""Codes that a Cast and a Mul make weights of are taken back to them, and are the same nodes again."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.stored_weights.expanded import match_expanded
from onnxslim.graph.stored_weights.unpacking import pack_weights, unpack_weights
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model as parse

RNG = np.random.default_rng(5)
X = RNG.normal(size=(64, 32)).astype(np.float32)
CODES, SCALES = RNG.integers(-127, 128, (32, 64)).astype(np.int8), np.exp(RNG.normal(-4, 1, (1, 64))).astype(np.float32)
BLOCK_SCALES = np.exp(RNG.normal(-4, 1, (32, 4, 1))).astype(np.float32)
TEXTS = {
    "along outputs": ("c = Cast <to=1> (w) \n f = Mul (c, s)", {"w": CODES, "s": SCALES}),
    "in blocks": (
        "c = Cast <to=1> (w) \n m = Mul (c, s) \n f = Reshape (m, k)",
        {"w": CODES.reshape(32, 4, 16), "s": BLOCK_SCALES, "k": np.array([32, 64], np.int64)},
    ),
}


def build(kind: str) -> ir.Model:
    text, arrays = TEXTS[kind]
    return parse(f"g (float[n,32] x) => (float[n,64] y) {{ {text} \n h = MatMul (x, f) \n y = Relu (h) }}", **arrays)


def run(model: ir.Model) -> np.ndarray:
    result: np.ndarray = Session(model, SessionConfig(optimize=False)).run({"x": X})["y"]
    return result


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_expanded_is_a_float_weight_and_the_same_nodes_again(kind: str) -> None:
    original, model = build(kind), build(kind)
    assert unpack_weights(model) == {}
    stored = unpack_weights(model, expanded=True)
    assert len(stored) == 1
    assert [node.op_type for node in model.graph] == ["MatMul", "Relu"]
    np.testing.assert_array_equal(run(model), run(original))
    assert pack_weights(model, stored) == 1
    assert [node.op_type for node in model.graph] == [node.op_type for node in original.graph]
    assert model.graph.initializers.keys() == original.graph.initializers.keys()
    np.testing.assert_array_equal(run(model), run(original))


def test_what_changed_stays_float() -> None:
    model = build("along outputs")
    stored = unpack_weights(model, expanded=True)
    (name,) = stored
    value = model.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.5), name=name)
    assert pack_weights(model, stored, changed=True) == 0


def test_a_product_with_what_is_no_constant_is_left() -> None:
    model = parse("g (float[n,64] x) => (float[n,64] y) { c = Cast <to=1> (w) \n y = Mul (c, x) }", w=CODES[:1])
    assert [match_expanded(node) for node in model.graph] == [None, None]


def test_such_a_model_gets_int8_activations_on_its_own_grid() -> None:
    original = build("along outputs")
    samples = open_samples({"x": X}, original)
    result, report = quantize(original, samples, QuantizeOptions(placement="static", activations="static", target="cpu"))
    assert report.changed["layers in int8"] == 1
    codes = [value.const_value.numpy() for value in result.graph.initializers.values() if value.const_value is not None]
    assert any(np.array_equal(found, CODES) for found in codes if found.dtype == np.int8)
