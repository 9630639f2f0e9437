"""Models with everything about them that a reader or writer could forget, and what tells two apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def proto(size: int = 2048, fill: float = 1.0) -> onnx.ModelProto:
    """y = Relu(x + w), with everything about it that a writer could forget."""
    nodes = [
        helper.make_node("Add", ["x", "w"], ["s"], name="add", doc_string="sum"),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, FLOAT, ["batch", size]) for name in "xy")
    x.type.denotation, x.doc_string = "IMAGE", "pixels"
    x.type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    weight = numpy_helper.from_array(np.full(size, fill, np.float32), "w")
    weight.doc_string = "learnt"
    graph = helper.make_graph(nodes, "graph", [x], [y], [weight], doc_string="a graph")
    graph.value_info.append(helper.make_tensor_value_info("s", FLOAT, ["batch", size]))
    graph.quantization_annotation.add(tensor_name="s").quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="me", producer_version="2")
    model.domain, model.model_version, model.doc_string = "org.example", 7, "a model"
    helper.set_model_props(model, {"license": "Apache-2.0", "author": "someone"})
    return model


def plain(message: Message) -> None:
    """Leave out, in place, what says nothing: empty texts, version 0, types without a type, tensors described twice."""
    for field, value in message.ListFields():
        if not value and (isinstance(value, str) or field.name == "model_version"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                plain(inner)
            if field.name == "type" and not value.ListFields():
                message.ClearField("type")
            if field.name == "metadata_props":
                value.sort(key=lambda entry: entry.key)
            if field.name == "value_info":
                graph = isinstance(message, onnx.GraphProto)
                said = {each.name for each in (*message.initializer, *message.output)} if graph else set()
                kept = sorted((each for each in value if each.name not in said), key=lambda each: each.name)
                message.ClearField("value_info")
                message.value_info.extend(kept)


def info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, ["batch", 2048])


def same(a: onnx.ModelProto, b: onnx.ModelProto) -> bool:
    """Whether two models say the same."""
    copies = [onnx.ModelProto.FromString(each.SerializeToString()) for each in (a, b)]
    for copy in copies:
        plain(copy)
    return copies[0].SerializeToString(deterministic=True) == copies[1].SerializeToString(deterministic=True)


def weights(model: ir.Model) -> np.ndarray:
    return model.graph.initializers["w"].const_value.numpy()


def run(path: Path, size: int = 2048) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.zeros((1, size), np.float32)})[0]
