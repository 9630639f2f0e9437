"""Differences of squares: a variance as the mean of the squares less the square of the mean.

Of two numbers that are close, little is left, and of that float16's eleven bits hold nothing. No range tells: both squares
may lie well within it. What the two are made of, from the tensor whose variance it is, stays in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array

DIFFERENCE_REASON = "it is part of a difference of squares, which float16 has no bits for"
#: What a square, or a mean of such, may pass on its way.
_PASSED = frozenset({
    "ReduceMean", "ReduceSum", "GlobalAveragePool", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Transpose", "Identity",
    "Flatten",
})  # fmt: skip
_SCALING = frozenset({"Mul", "Div"})


def find_square_differences(nodes: Sequence[ir.Node]) -> list[ir.Node]:
    """Those of ``nodes``, producers first, that a difference of squares is computed by."""
    known, of_squares, kept = set(nodes), set[ir.Node](), set[ir.Node]()
    for node in nodes:
        if _is_square(node) or (_passes(node) and any(one in of_squares for one in node.predecessors())):
            of_squares.add(node)
        producers = [None if value is None else value.producer() for value in node.inputs]
        if node.op_type != "Sub" or node.domain or not all(one in of_squares for one in producers):
            continue
        kept.add(node)
        stack = [one for one in producers if one is not None]
        while stack:
            one = stack.pop()
            if one in known and one not in kept and (_is_square(one) or _passes(one)):
                kept.add(one)
                stack.extend(one.predecessors())
    return [node for node in nodes if node in kept]


def _is_square(node: ir.Node) -> bool:
    if node.domain:
        return False
    if node.op_type == "Pow":
        exponent = get_const_array(node.inputs[1])
        return exponent is not None and bool((exponent == 2).all())
    return node.op_type == "ReduceSumSquare" or (node.op_type == "Mul" and node.inputs[0] is node.inputs[1])


def _passes(node: ir.Node) -> bool:
    if node.domain:
        return False
    scales = node.op_type in _SCALING and any(get_const_array(value) is not None for value in node.inputs)
    return scales or node.op_type in _PASSED
