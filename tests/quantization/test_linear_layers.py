"""Which weights are a linear layer's or a table's, and which are left with the reason."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.linear_layers import find_weight_matrices
from tests.support.encoder import tied


def test_a_weight_that_something_else_reads_in_float_is_left_alone_with_the_reason() -> None:
    model = tied("Gemm")
    relu = ir.node("Relu", [model.graph.initializers["table"]], outputs=[ir.val("r", ir.DataType.FLOAT, (500, 64))])
    model.graph.append(relu)
    model.graph.outputs.append(model.graph[-1].outputs[0])
    name_nodes(model.graph.all_nodes())
    weights, skipped = find_weight_matrices(model)
    assert weights == []
    assert {one.reason.split(" too")[0] for one in skipped} == {"its weights are read by Relu node_Relu_0"}
