"""float16 and back."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

import onnxslim
from tests.support.legacy import outputs

IMAGE = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)


def test_float16_inside_and_at_the_inputs_and_outputs_and_back(wide: str) -> None:
    half = onnxslim.slim(wide, dtype="float16")
    assert {v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)} == {TensorProto.FLOAT16}
    assert [v.name for v in (*half.graph.input, *half.graph.output)] == ["image", "logits"]
    weights = [tensor for tensor in half.graph.initializer if len(tensor.dims) > 1]
    assert all(tensor.data_type == TensorProto.FLOAT16 for tensor in weights)
    assert half.ByteSize() < 0.6 * onnxslim.slim(wide).ByteSize()
    expected = outputs(wide, image=IMAGE)[0]
    (found,) = outputs(half, image=IMAGE.astype(np.float16))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    back = onnxslim.slim(half, dtype="fp32")
    assert "Cast" not in [node.op_type for node in back.graph.node]
    assert {tensor.data_type for tensor in back.graph.initializer} <= {TensorProto.FLOAT, TensorProto.INT64}
    np.testing.assert_allclose(outputs(back, image=IMAGE)[0], expected, atol=0.02 * np.abs(expected).max())


def test_what_would_overflow_in_float16_keeps_float32() -> None:
    nodes = [
        helper.make_node("Add", ["x", "large"], ["y"], "add"),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
        helper.make_node("Cast", ["z"], ["h"], "half", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["out"], "whole", to=TensorProto.FLOAT),
    ]
    vi = helper.make_tensor_value_info
    large = helper.make_tensor("large", TensorProto.FLOAT, [1], [1e9])
    graph = helper.make_graph(nodes, "g", [vi("x", TensorProto.FLOAT, [4])], [vi("out", TensorProto.FLOAT, [4])], [large])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    half = onnxslim.slim(model, dtype="fp16")
    assert {tensor.name: tensor.data_type for tensor in half.graph.initializer} == {"large": TensorProto.FLOAT}
    wide = onnxslim.slim(model, dtype="fp32")
    assert TensorProto.FLOAT16 not in [a.i for node in wide.graph.node for a in node.attribute if a.name == "to"]


def test_the_same_element_type_is_no_conversion(wide: str) -> None:
    same = onnxslim.slim(wide, dtype="fp32")
    assert same.SerializeToString() == onnxslim.slim(wide).SerializeToString()
