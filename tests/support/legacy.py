"""What the tests of the old call and of its flags share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper


def outputs(model: onnx.ModelProto | str | Path, **feeds: np.ndarray) -> list[np.ndarray]:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, feeds)


def two_inputs() -> onnx.ModelProto:
    """a (n, 4) + b (n, 4) → sum → relu → out; ``sum`` is a tensor within."""
    vi = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"], "add"),
        helper.make_node("Relu", ["sum"], ["out"], "relu"),
    ]
    inputs = [vi(name, TensorProto.FLOAT, ["n", 4]) for name in "ab"]
    graph = helper.make_graph(nodes, "g", inputs, [vi("out", TensorProto.FLOAT, ["n", 4])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
