"""Weights beside the model: mapped, contained, and still there when their file is replaced."""

from __future__ import annotations

import os

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_io import model_file
from tests.support.protos import proto, weights


def test_data_beside_the_model_are_mapped_and_not_read(beside):
    tensor = model_file.load(beside).graph.initializers["w"].const_value
    assert (tensor.name, tensor.doc_string, tensor.numpy().sum()) == ("w", "learnt", 2048)
    assert not tensor.numpy().flags.owndata
    assert not tensor.numpy().flags.writeable


def test_a_tensor_stays_what_it_was_when_its_file_is_replaced(beside):
    model = model_file.load(beside)
    data = beside.with_name("model.onnx.data")
    data.with_name("other").write_bytes(bytes(data.stat().st_size))
    os.replace(data.with_name("other"), data)
    assert weights(model).sum() == 2048


def test_the_memory_of_a_tensor_is_given_back_and_read_again(beside):
    tensor = model_file.load(beside).graph.initializers["w"].const_value
    for _ in range(2):
        assert tensor.numpy().sum() == 2048
        model_file.release(tensor)
    model_file.release(ir.tensor(np.ones(3, np.float32)))
    model_file.release(ir.serde.TensorProtoTensor(proto().graph.initializer[0]))


def test_a_model_that_onnx_ir_opened_by_a_bare_name_is_contained(beside, monkeypatch):
    (beside.parent.parent / "secret").write_bytes(bytes(8192))
    data = beside.read_bytes().replace(b"model.onnx.data", b"../secret123456")
    beside.write_bytes(data)
    os.rename(beside.parent.parent / "secret", beside.parent.parent / "secret123456")
    monkeypatch.chdir(beside.parent)
    opened = ir.load("model.onnx")
    with pytest.raises(InvalidModelError, match="outside"):
        model_file.load(opened)


def test_a_model_that_onnx_ir_opened_is_read(beside):
    assert weights(model_file.load(ir.load(beside))).sum() == 2048


@pytest.mark.parametrize("change", [{"offset": -4}, {"dtype": ir.DataType.STRING}])
def test_a_reference_built_in_memory_is_checked_too(beside, change):
    model = ir.load(beside)
    about = {"offset": 0, "dtype": ir.DataType.FLOAT, **change}
    model.graph.initializers["w"].const_value = ir.ExternalTensor(
        "model.onnx.data", length=None, shape=ir.Shape([2048]), name="w", base_dir=beside.parent, **about
    )
    with pytest.raises(InvalidModelError, match="'w'"):
        model_file.load(model)
