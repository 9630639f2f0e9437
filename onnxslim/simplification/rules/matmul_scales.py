"""MatMul(a · c, b · d) → MatMul(a · cd, b) for scalars c and d.

PyTorch's exporter writes scaled_dot_product_attention with the root of the scale on either side.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The MatMul."""
    first, second = _split_scale(node.inputs[0]), _split_scale(node.inputs[1])
    if first is None or second is None:
        return None
    if not all(value is not None and has_single_use(value) for value in node.inputs):
        return "a scaled factor is read elsewhere"
    scale = first[1].astype(np.float64) * second[1].astype(np.float64)
    left = op("Mul", [first[0], const(scale.astype(first[1].dtype), node.inputs[0])])
    return {node.outputs[0]: op("MatMul", [left, second[0]], name=node.name)}


def _split_scale(value: ir.Value | None) -> tuple[ir.Value, np.ndarray] | None:
    """What is multiplied, and the scalar."""
    node = producer(value, "Mul")
    if node is None:
        return None
    for at in (0, 1):
        array, other = get_const_array(node.inputs[at]), node.inputs[1 - at]
        if array is not None and array.size == 1 and array.ndim < 2 and array.dtype.kind == "f" and other is not None:
            return other, array
    return None


RULE = Rule("scales joined", ("MatMul",), match, rounds=True)
