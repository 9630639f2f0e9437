"""How a graph makes an output: the ops at its end, seen through those that only move values about."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

#: Ops that leave the values what they are.
_TRANSPARENT_OPS = frozenset(
    (
        "Cast",
        "DequantizeLinear",
        "Dropout",
        "Flatten",
        "Identity",
        "QuantizeLinear",
        "Reshape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
#: How far back a norm is looked for: Div ← Expand ← Clip ← Add ← Sqrt ← ReduceSum.
_MAX_NORM_DEPTH = 6
_NORM_PATH_OPS = frozenset((*_TRANSPARENT_OPS, "Add", "Clip", "Expand", "Max", "Pow", "Sqrt"))


@dataclass(frozen=True)
class GraphEnding:
    """The op that makes an output, and what is known of it.

    Attributes:
        op: Its type; empty where the output is an input or a constant.
        axis: Its attribute ``axis``, where it has one.
        has_unit_length: It divides by the length of a vector.
        passed: The ops between it and the output, from the output back.
    """

    op: str = ""
    axis: int | None = None
    has_unit_length: bool = False
    passed: tuple[str, ...] = ()


def find_ending(model: ir.Model, output: str) -> GraphEnding:
    """How the graph of ``model`` makes ``output``."""
    value: ir.Value | None = next((v for v in model.graph.outputs if v.name == output), None)
    passed: list[str] = []
    while value is not None and (node := value.producer()) is not None:
        if node.op_type not in _TRANSPARENT_OPS or not node.inputs:
            axis = node.attributes.get_int("axis", None) if "axis" in node.attributes else None
            return GraphEnding(node.op_type, axis, _divides_by_length(node), tuple(passed))
        passed.append(node.op_type)
        value = node.inputs[0]
    return GraphEnding(passed=tuple(passed))


def _divides_by_length(node: ir.Node) -> bool:
    if node.op_type == "LpNormalization":
        return node.attributes.get_int("p", 2) == 2
    if node.op_type == "Mul":  # by the reciprocal
        return any(_is_length(value, _MAX_NORM_DEPTH, reciprocal=True) for value in node.inputs)
    return node.op_type == "Div" and len(node.inputs) == 2 and _is_length(node.inputs[1], _MAX_NORM_DEPTH)


def _is_length(value: ir.Value | None, depth: int, *, reciprocal: bool = False) -> bool:
    """Whether ``value`` is the root of a sum of squares."""
    node = None if value is None else value.producer()
    if node is None or depth == 0:
        return False
    if reciprocal:
        return node.op_type in ("Reciprocal", "Rsqrt") and bool(node.inputs) and _is_length(node.inputs[0], depth - 1)
    if node.op_type in ("ReduceL2", "ReduceSumSquare"):
        return True
    if node.op_type == "ReduceSum":
        squared = node.inputs[0].producer() if node.inputs[0] is not None else None
        return squared is not None and squared.op_type in ("Pow", "Mul", "Abs")
    return node.op_type in _NORM_PATH_OPS and any(_is_length(one, depth - 1) for one in node.inputs)
