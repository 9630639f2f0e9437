"""Weights in half floats: at load they are floats again, and what half floats do not hold keeps its own."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import compute_sqnr_db, energy, squared_error
from onnxslim.core.errors import UnsupportedError
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model, options

X = np.random.default_rng(3).standard_normal((4, 64)).astype(np.float32)


def draw(scale: float) -> np.ndarray:
    return (np.random.default_rng(1).standard_normal((64, 64)) * scale).astype(np.float32)


def build(scale: float) -> ir.Model:
    text = "g (float[n,64] x) => (float[n,64] y) { a = MatMul (x, v)\n b = Relu (a)\n y = MatMul (b, w) }"
    return model(text, v=draw(0.1), w=draw(scale))


@pytest.mark.parametrize("scale", [1e5, 1e-7])
def test_a_weight_beyond_the_range_of_half_floats_stays_and_is_named(scale: float) -> None:
    original = build(scale)
    result, report = quantize(original, None, options("float16"))
    stored = {value.dtype for value in result.graph.initializers.values()}
    assert stored == {ir.DataType.FLOAT, ir.DataType.FLOAT16}
    assert [entry.node for entry in report.skipped if "half floats" in entry.reason] == ["w"]
    expected, found = (Session(m).run({"x": X})["y"] for m in (original, result))
    assert compute_sqnr_db(energy(expected), squared_error(expected, found)) > 60


@pytest.mark.parametrize("target", ["cpu", "cuda", "tensorrt"])
def test_they_are_floats_again_when_the_model_is_loaded(target: str) -> None:
    original = build(0.1)
    result, _ = quantize(original, None, options("float16", target=target))
    nodes = [[node.op_type for node in read_optimized_graph(m).graph] for m in (original, result)]
    assert nodes[0] == nodes[1]
    assert {node.op_type for node in result.graph} == {"MatMul", "Relu", "Cast"}


def test_a_layer_that_is_excluded_keeps_its_floats() -> None:
    original = build(0.1)
    original.graph[0].name = "first"
    result, _ = quantize(original, None, options("float16", exclude=("first",)))
    assert original.graph.initializers["v"].dtype == result.graph.initializers["v"].dtype


def test_nothing_but_weights_beyond_the_range_is_refused() -> None:
    text = "g (float[n,64] x) => (float[n,64] y) { y = MatMul (x, w) }"
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(model(text, w=draw(1e5)), None, options("float16"))


def test_weights_that_are_half_floats_already_are_said_to_be() -> None:
    text = "g (float16[n,64] x) => (float16[n,64] y) { y = MatMul (x, w) }"
    with pytest.raises(UnsupportedError, match="nothing to quantise") as caught:
        quantize(model(text, w=draw(0.1).astype(np.float16)), None, options("float16"))
    assert "w: it is in half floats as it is" in str(caught.value.hint)
