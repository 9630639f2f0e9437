"""Small models whose outputs are known by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.support.node_graphs import FLOAT, build


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
