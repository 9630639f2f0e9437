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


def test_bytes_have_no_files(beside):
    for source in (beside.read_bytes(), onnx.load(beside, load_external_data=False)):
        with pytest.raises(InvalidModelError, match="'w' is in a file") as caught:
            model_file.load(source)
        assert caught.value.hint == "load the model by its path"


KNOWN = set(TensorProto.DataType.values())
KINDS = [kind for kind in ir.DataType if kind.name not in ("UNDEFINED", "STRING") and kind.value in KNOWN]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 5)])
def test_every_element_type_survives_the_way_through_a_file(kind, shape, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file.data_writer, "_MIN_EXTERNAL_BYTES", 0)
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
    size = sum(os.path.getsize(path) for path in beside.parent.iterdir())
    assert model_file.size_on_disk(beside) == size
    loaded = model_file.load(beside)
    assert model_file.size_on_disk(beside, loaded) == model_file.size_on_disk(beside, loaded.clone()) == size
    with pytest.raises(UsageError):
        model_file.size_on_disk(beside.with_name("missing.onnx"))
