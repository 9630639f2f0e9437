"""Data beside a model: mapped, contained, and of every element type."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from onnxslim.core.errors import InvalidModelError, UsageError
from onnxslim.model_io import model_file
from tests.support.protos import proto, weights


def test_bytes_have_no_files(beside):
    for source in (beside.read_bytes(), onnx.load(beside, load_external_data=False)):
        with pytest.raises(InvalidModelError, match="'w' is in a file") as caught:
            model_file.load(source)
        assert caught.value.hint == "load the model by its path"


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


KNOWN = set(TensorProto.DataType.values())
KINDS = [kind for kind in ir.DataType if kind.name not in ("UNDEFINED", "STRING") and kind.value in KNOWN]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5)])
def test_every_element_type_survives_the_way_through_a_file(kind, shape, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file.external_data_writer, "_MIN_EXTERNAL_BYTES", 0)
    length = -(-int(np.prod(shape)) * kind.bitwidth // 8)
    raw = bytes(range(1, length + 1)) if kind != ir.DataType.BOOL else bytes([1]) * length
    if kind.bitwidth < 8 and length:
        raw = bytes(length)
    w = ir.Value(
        name="w",
        const_value=ir.serde.TensorProtoTensor(TensorProto(name="w", data_type=kind, dims=shape, raw_data=raw)),
    )
    node = ir.node("Identity", [w])
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", ir.TensorType(kind), ir.Shape(shape)
    newest = min(25, onnx.defs.onnx_opset_version())
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=[w], opset_imports={"": newest}, name="g")
    model_file.save(ir.Model(graph, ir_version=min(13, onnx.IR_VERSION)), tmp_path / "model.onnx", external_data=True)
    back = model_file.load(tmp_path / "model.onnx").graph.initializers["w"].const_value
    assert (back.dtype, tuple(back.shape), back.tobytes()) == (kind, shape, raw)
    np.testing.assert_array_equal(back.numpy(), w.const_value.numpy())


def test_size_on_disk_counts_the_data(beside):
    assert model_file.size_on_disk(beside) == sum(os.path.getsize(path) for path in beside.parent.iterdir())
    with pytest.raises(UsageError):
        model_file.size_on_disk(beside.with_name("missing.onnx"))
