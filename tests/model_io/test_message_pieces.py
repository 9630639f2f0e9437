"""The pieces of a message are its bytes."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, LimitError
from onnxslim.model_io import message_pieces, model_file, serialization
from tests.support.protos import proto

LIGHT = sorted(glob.glob(os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light/*.onnx")))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_pieces, "_MIN_TENSOR_BYTES", 64)
    monkeypatch.setattr(message_pieces, "_MIN_TOTAL_BYTES", 64)


def check(model: ir.Model, least: int = 4) -> None:
    pieces = list(model_file.iter_bytes(model))
    whole = serialization.to_bytes(model)
    assert b"".join(pieces) == model_file.to_bytes(model) == whole
    assert model_file.count_bytes(model) == len(whole)
    assert len(pieces) >= least


def add(model: onnx.ModelProto, *tensors: onnx.TensorProto) -> ir.Model:
    model.graph.initializer.extend(tensors)
    return model_file.load(model)


@pytest.mark.parametrize("path", LIGHT, ids=os.path.basename)
def test_a_model_of_the_onnx_package_is_the_same_in_pieces(path: str) -> None:
    check(model_file.load(path), 1)


def test_every_field_around_the_weights_keeps_its_place() -> None:
    model = proto()
    model.doc_string, model.producer_name, model.graph.doc_string = "of the model", "somebody", "of the graph"
    helper.set_model_props(model, {"key": "value"})
    weight = numpy_helper.from_array(np.arange(300.0, dtype=np.float32), "large")
    weight.doc_string = "of the tensor"
    check(add(model, weight, numpy_helper.from_array(np.ones(2, np.float32), "small")))


@pytest.mark.parametrize(
    "tensor",
    [
        numpy_helper.from_array(np.array(["a" * 100, "b"], object), "w2"),
        helper.make_tensor("w2", TensorProto.FLOAT, [200], np.ones(200)),  # in a typed field
        helper.make_tensor("w2", TensorProto.INT4, [301], np.arange(301) % 7),
        helper.make_tensor("w2", TensorProto.BFLOAT16, [200], np.ones(200)),
        numpy_helper.from_array(np.zeros((0, 4), np.float32), "w2"),
    ],
    ids=["strings", "typed", "int4", "bfloat16", "empty"],
)
def test_every_form_of_a_tensor_is_the_same_in_pieces(tensor: onnx.TensorProto) -> None:
    check(add(proto(), tensor))


def test_a_tensor_that_a_body_has_too_is_left_where_it_is() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (bool c, float[40] x) => (float[40] y)
    { y = If (c) <then_branch = t () => (float[40] a) { a = Identity (x) }, else_branch = e () => (float[40] b)
    <float[40] inner = {1}> { b = Mul (x, inner) }> }"""
    text = text.replace("{1}", "{" + ", ".join(["1"] * 40) + "}")
    model = model_file.load(onnx.parser.parse_model(text))
    (body,) = (graph for graph in model.graphs() if "inner" in graph.initializers)
    shared = ir.tensor(np.ones(40, np.float32), name="outer")
    model.graph.register_initializer(ir.Value(name="outer", const_value=shared))
    body.initializers["inner"].const_value = shared
    check(model, 1)


def test_tensors_beside_the_model_are_read_one_by_one(beside: Path) -> None:
    check(model_file.load(beside))


def test_what_no_message_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_pieces.serialization, "MAX_INLINE_BYTES", 8191)
    with pytest.raises(LimitError, match="in one message"):
        list(model_file.iter_bytes(model_file.load(proto())))
    monkeypatch.undo()
    broken = model_file.load(proto())
    broken.graph.initializers["w"].const_value = None
    with pytest.raises(InvalidModelError, match="has no value"):
        list(model_file.iter_bytes(broken))
