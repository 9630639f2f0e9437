"""Constants meet: (x · a) · b → x · (a·b) and (x + a) + b → x + (a+b), in floating point."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The outer of two nodes of one op, each with one constant operand."""
    outer_parts = _split_constant(node)
    inner = producer(outer_parts[0], node.op_type) if outer_parts is not None else None
    inner_parts = _split_constant(inner) if inner is not None else None
    if outer_parts is None or inner_parts is None or outer_parts[0] is None:
        return None
    if outer_parts[1].dtype.kind != "f":
        return "integers may overflow in another order"
    if not has_single_use(outer_parts[0]):
        return f"the result of the {node.op_type} before is read elsewhere"
    a, b = (array.astype(np.float64) for array in (inner_parts[1], outer_parts[1]))
    limits, finite = np.finfo(outer_parts[1].dtype), np.isfinite(a) & np.isfinite(b)
    exact = a * b if node.op_type == "Mul" else a + b
    joined = np.asarray(exact, outer_parts[1].dtype)
    is_lost = (np.abs(exact) < limits.tiny) & (a != 0) & (b != 0) & (node.op_type == "Mul")
    if (finite & ((np.abs(exact) > limits.max) | is_lost)).any():
        return "the joined constant is beyond its type"
    if joined.size > max(a.size, b.size) or symbolic_dims(inner_parts[0]) is None:
        return "the joined constant would be larger"
    return {node.outputs[0]: op(node.op_type, [inner_parts[0], const(joined, node.outputs[0])])}


def _split_constant(node: ir.Node) -> tuple[ir.Value | None, np.ndarray] | None:
    """(what is not constant, the constant)."""
    for at in (1, 0):
        array = get_const_array(node.inputs[at])
        if array is not None and get_const_array(node.inputs[1 - at]) is None:
            return node.inputs[1 - at], array
    return None


RULE = Rule("constants joined", ("Mul", "Add"), match, rounds=True)
