"""Linear layers and embedding tables written in int8, each weight once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.dynamic import rewrite
from onnxslim.quantization.dynamic.rewrite import write_dynamic
from onnxslim.quantization.linear_layers import find_weight_matrices
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from tests.support.encoder import data, small, sqnr, tied

STATIC = QuantizeOptions(placement="static")


def test_the_layers_that_read_one_tensor_quantise_it_once() -> None:
    model = small()
    result, _ = quantize(model, data(model), STATIC)
    entries = Counter(node.inputs[0].name for node in result.graph if node.op_type == "DynamicQuantizeLinear")  # type: ignore[union-attr]
    assert set(entries.values()) == {1}
    assert len(entries) == 2 * 4


def test_a_large_embedding_table_is_stored_in_rows_of_int8_and_answers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "MIN_TABLE_ELEMENTS", 500 * 64)
    model = small(vocabulary=500)
    samples = data(model)
    result, report = quantize(model, samples, STATIC)
    assert report.changed["embedding tables in int8"] == 1
    assert len(model_file.to_bytes(result)) < len(model_file.to_bytes(model)) / 3
    assert sqnr(model, result, samples) > 30


@pytest.mark.parametrize("transposed_by", ["Transpose", "Gemm"])
def test_a_table_tied_to_the_output_layer_is_quantised_once_for_both(transposed_by: str) -> None:
    model = tied(transposed_by)
    samples = open_samples({"ids": np.arange(40) % 500}, model)
    result, report = quantize(model, samples, QuantizeOptions(placement="static", activations="dynamic"))
    tensors = [value.const_value for value in result.graph.initializers.values() if value.const_value is not None]
    assert [tensor.dtype for tensor in tensors if tensor.size >= 500 * 64] == [ir.DataType.INT8]
    assert report.changed["layers in int8"] == 1
    assert sqnr(model, result, samples) > 30


BODY = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,64] x, bool c) => (float[n,64] y) {
  h = MatMul(x, w)
  y = If (c) <
    then_branch = yes () => (float[n,64] a) { a = MatMul(h, w) },
    else_branch = no () => (float[n,64] b) { z = MatMul(h, v)
      b = Relu(z) }
  >
}"""


def with_bodies() -> ir.Model:
    model = ir.from_onnx_text(BODY)
    rng = np.random.default_rng(0)
    for name in ("w", "v"):
        tensor = ir.tensor((rng.standard_normal((64, 64)) / 8).astype(np.float32), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape((64, 64)), type=ir.TensorType(tensor.dtype))
        model.graph.register_initializer(value)
    for node in model.graph.all_nodes():
        for index, value in enumerate(node.inputs):
            if value is not None and value.name in ("w", "v"):
                node.replace_input_with(index, model.graph.initializers[value.name])
    return model


@pytest.mark.parametrize("condition", [True, False])
def test_layers_in_the_bodies_of_an_if_are_quantised_too_and_shared_weights_once(condition: bool) -> None:
    model = with_bodies()
    x = np.random.default_rng(1).standard_normal((8, 4, 64)).astype(np.float32)
    samples = open_samples({"x": x.reshape(-1, 64), "c": np.array(condition)}, model, max_samples=4)
    name_nodes(model.graph.all_nodes())
    result = model_file.clone(model)
    write_dynamic(result, find_weight_matrices(result)[0])
    ops = Counter(node.op_type for node in read_optimized_graph(result).graph.all_nodes())
    assert ops["MatMulIntegerToFloat"] + ops["DynamicQuantizeMatMul"] == 3
    assert [v.dtype for v in result.graph.initializers.values() if len(v.shape or ()) == 2] == [ir.DataType.INT8] * 2
    assert sqnr(model, result, samples) > 30
