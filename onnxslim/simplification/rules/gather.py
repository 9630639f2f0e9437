"""Unsqueeze(Gather(x, i) over axis a, [a]) → Gather(x, [i]) for one index i: the axis was dropped only to come back."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer
from onnxslim.simplification.symbolic_shapes.inference import resolve_axes, symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Unsqueeze; its axes are an attribute up to opset 12."""
    value = node.inputs[0]
    gather = producer(value, "Gather")
    dims = symbolic_dims(node.outputs[0])
    if gather is None or value is None or dims is None:
        return None
    index = get_const_array(gather.inputs[1])
    if index is None or index.ndim:
        return None
    axis = gather.attributes.get_int("axis", 0)
    if axis < 0 or resolve_axes(node, context.integers, len(dims)) != [axis]:
        return None
    if not has_single_use(value):
        return "the result of Gather is read elsewhere"
    index_vector = const(index.reshape(1), gather.inputs[1])
    return {node.outputs[0]: op("Gather", [gather.inputs[0], index_vector], gather.attributes)}


RULE = Rule("gathers", ("Unsqueeze",), match)
