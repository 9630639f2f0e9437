"""A small network whose weights are listed among its inputs, as exporters of 2018 to 2020 did, and one of those is fed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS, WIDTH, CLASSES = 48, 32, 5
RNG = np.random.default_rng(3)
X = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
#: What the data give for ``gain``, whose default is 1.
GAIN = np.array(3.0, np.float32)


def listed(ir_version: int = 6) -> onnx.ModelProto:
    """``y = Relu(x w1 + b1) w2 · gain``: every initializer is an input too, as is the shape of a Reshape."""
    rng = np.random.default_rng(0)
    constants = {
        "w1": rng.normal(size=(WIDTH, 64), scale=0.2).astype(np.float32),
        "b1": rng.normal(size=64).astype(np.float32),
        "w2": rng.normal(size=(64, CLASSES), scale=0.2).astype(np.float32),
        "shape": np.array([-1, 64], np.int64),
        "gain": np.float32(1.0),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Add", ["h", "b1"], ["hb"]),
        helper.make_node("Reshape", ["hb", "shape"], ["hr"]),
        helper.make_node("Relu", ["hr"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["z"], name="second"),
        helper.make_node("Mul", ["z", "gain"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])]
    inputs += [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in initializers]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES])]
    graph = helper.make_graph(nodes, "listed", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=ir_version)


def names_of_inputs(model: onnx.ModelProto) -> list[str]:
    """The inputs, initializers that are listed there included."""
    return [value.name for value in model.graph.input]
