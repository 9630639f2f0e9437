"""Constant() → an initializer of the outermost graph, where equal ones are stored once; an output stays a node."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, tensor_const


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """In any of its forms that is a tensor of numbers."""
    output = node.outputs[0]
    stored = get_const_tensor(output)
    if stored is None or output.is_graph_output() or stored.dtype is ir.DataType.STRING:
        return None
    # a copy: the caller's model shares the node's tensor, and naming that would rename it there
    return {output: tensor_const(ir.Tensor(stored.numpy(), dtype=stored.dtype), output)}


RULE = Rule("constants lifted", ("Constant",), match)
