"""Conv(x, W, b) · c + d → Conv(x, c·W, c·b + d) for constants of one number a channel; the same for Sub and Div.

The linear op is a Conv, ConvTranspose or Gemm; see :mod:`onnxslim.simplification.affine_folding`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import LinearLayer
from onnxslim.simplification.affine_folding import LINEAR_OPS, fold_affine
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, find_operand


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """One operand comes from the linear op, the other is constant."""
    operand = find_operand(node, *LINEAR_OPS)
    if operand is None:
        return None
    at, value, linear = operand
    array = get_const_array(node.inputs[1 - at])
    if array is None or array.dtype.kind != "f" or (node.op_type == "Div" and at == 1):
        return None
    weight = get_const_array(linear.inputs[1])
    if weight is None:
        return f"the weights of {linear.op_type} are not constants"
    factor = _to_per_channel(array, weight.ndim, linear)
    if factor is None:
        return f"its constant is not one number for each channel of {linear.op_type}"
    if node.op_type in ("Mul", "Div"):
        return fold_affine(node, value, factor if node.op_type == "Mul" else 1 / factor, None)
    if node.op_type == "Sub" and at == 0:
        return fold_affine(node, value, None, -factor, node.inputs[1])
    sign = -np.ones_like(factor) if node.op_type == "Sub" else None
    return fold_affine(node, value, sign, factor, node.inputs[1 - at])


def _to_per_channel(array: np.ndarray, rank: int, linear: ir.Node) -> np.ndarray | None:
    """``array`` as float64 of one number a channel of a result of ``rank`` axes, or None when it varies otherwise."""
    if array.ndim > rank:
        return None
    channels = LinearLayer(linear).outputs
    full = array.reshape([1] * (rank - array.ndim) + list(array.shape)).astype(np.float64)
    if full.size not in (1, channels) or full.shape[1] != full.size:
        return None
    return np.broadcast_to(full.reshape(-1), (channels,))


RULE = Rule("conv+scale", ("Mul", "Add", "Sub", "Div"), match, rounds=True)
