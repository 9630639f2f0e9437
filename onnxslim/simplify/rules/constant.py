"""Constant() → an initializer of the outermost graph, where equal ones are stored once; an output stays a node."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import tensor
from onnxslim.simplify.rule import Found, Rule, Scene, held


def match(node: ir.Node, scene: Scene) -> Found:
    """In any of its forms that is a tensor of numbers."""
    output = node.outputs[0]
    found = tensor(output)
    if found is None or output.is_graph_output() or found.dtype is ir.DataType.STRING:
        return None
    own = ir.Tensor(
        found.numpy(), dtype=found.dtype
    )  # the caller's model shares the node's, and naming it renames that
    return {output: held(own, output)}


RULE = Rule("constants lifted", ("Constant",), match)
