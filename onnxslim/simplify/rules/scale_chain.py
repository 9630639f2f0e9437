"""Constants meet: (x · a) · b → x · (a·b) and (x + a) + b → x + (a+b), in floating point."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.arithmetic import extent
from onnxslim.simplify.rule import Found, Rule, Scene, const, op, producer, sole


def match(node: ir.Node, scene: Scene) -> Found:
    """The outer of two nodes of one op, each with one constant operand."""
    outer = _parts(node)
    inner = producer(outer[0], node.op_type) if outer is not None else None
    parts = _parts(inner) if inner is not None else None
    if outer is None or parts is None or outer[0] is None:
        return None
    if outer[1].dtype.kind != "f":
        return "integers may overflow in another order"
    if not sole(outer[0]):
        return f"the result of the {node.op_type} before is read elsewhere"
    a, b = (array.astype(np.float64) for array in (parts[1], outer[1]))
    joined = np.asarray(a * b if node.op_type == "Mul" else a + b, outer[1].dtype)
    if joined.size > max(a.size, b.size) or extent(parts[0]) is None:
        return "the joined constant would be larger"
    return {node.outputs[0]: op(node.op_type, [parts[0], const(joined, node.outputs[0])])}


def _parts(node: ir.Node) -> tuple[ir.Value | None, np.ndarray] | None:
    """(what is not constant, the constant)."""
    for at in (1, 0):
        array = constant(node.inputs[at])
        if array is not None and constant(node.inputs[1 - at]) is None:
            return node.inputs[1 - at], array
    return None


RULE = Rule("constants joined", ("Mul", "Add"), match, rounds=True)
