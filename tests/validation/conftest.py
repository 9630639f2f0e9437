"""Small models whose outputs are known by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def build(nodes: Sequence, inputs: dict, outputs: dict, constants: dict | None = None) -> ir.Model:
    """A model from ONNX helper nodes; inputs and outputs as name → (type, shape) or a ValueInfoProto."""

    def info(name: str, kind: tuple | ValueInfoProto) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, *kind) if isinstance(kind, tuple) else kind

    graph = helper.make_graph(
        list(nodes),
        "g",
        [info(name, kind) for name, kind in inputs.items()],
        [info(name, kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


@pytest.fixture(scope="session")
def linear():
    """``linear(weight, bias)``: x[batch, K] → scores[batch, C] = x @ weight + bias."""

    def make(weight: np.ndarray, bias: np.ndarray | float = 0.0) -> ir.Model:
        k, c = weight.shape
        constants = {"w": weight.astype(np.float32), "b": np.broadcast_to(np.float32(bias), (c,)).copy()}
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["product"], "product_node"),
            helper.make_node("Add", ["product", "b"], ["scores"], "add_node"),
        ]
        return build(nodes, {"x": (FLOAT, ["batch", k])}, {"scores": (FLOAT, ["batch", c])}, constants)

    return make
