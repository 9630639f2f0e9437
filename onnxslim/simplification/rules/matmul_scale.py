"""A scalar after a product moves to a constant factor of it, past what only moves elements around:

- (x·W + b) · c → x·(c·W) + c·b
- (A·B) · c → A'·B, where A is views and transposes of x·W + b and A' of x·(c·W) + c·b

So attention's 1/√d is in the weights of the queries, and not computed for every pair of positions.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op, producer
from onnxslim.simplification.speed.claim import SpeedClaim

#: Ops that move elements and compute nothing.
MOVEMENT_OPS = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Mul or Div by a scalar."""
    at = 1 if node.op_type == "Div" else next((i for i, v in enumerate(node.inputs) if _get_scalar(v) is not None), 1)
    factor, product = _get_scalar(node.inputs[at]), node.inputs[1 - at]
    if factor is None or product is None or product.dtype is not ir.DataType.FLOAT:
        return None
    factor = 1 / factor if node.op_type == "Div" else factor
    direct = _scale_value(product, factor)
    if direct is not None:
        return {node.outputs[0]: direct}
    matmul = producer(product, "MatMul")
    if matmul is None:
        return None
    if not has_single_use(product):
        return "the product is read elsewhere"
    for side, value in enumerate(matmul.inputs):
        factored = None if value is None else _scale_value(value, factor)
        if factored is not None:
            inputs = [factored, matmul.inputs[1]] if side == 0 else [matmul.inputs[0], factored]
            return {node.outputs[0]: op("MatMul", inputs, name=matmul.name)}
    return "neither factor is a product with constant weights that nothing else reads"


def _get_scalar(value: ir.Value | None) -> float | None:
    array = get_const_array(value)
    if array is None or array.size != 1 or array.dtype.kind != "f" or array.ndim > 1:
        return None
    number = float(array.reshape(()))
    return number if number and np.isfinite(number) else None


def _scale_value(value: ir.Value, factor: float) -> ir.Value | None:
    """``value`` · ``factor`` with the factor in constant weights behind it, or None when there are none of its own."""
    node = producer(value, *MOVEMENT_OPS, "Add", "MatMul")
    if node is None or not has_single_use(value):
        return None
    if node.op_type in MOVEMENT_OPS:
        source = None if node.inputs[0] is None else _scale_value(node.inputs[0], factor)
        return None if source is None else op(node.op_type, [source, *node.inputs[1:]], node.attributes, name=node.name)
    if node.op_type == "MatMul":
        weight = get_const_array(node.inputs[1])
        if weight is None or get_const_array(node.inputs[0]) is not None:
            return None
        return op("MatMul", [node.inputs[0], _multiply_constant(node.inputs[1], weight, factor)], name=node.name)
    for side in (0, 1):
        bias, product = get_const_array(node.inputs[side]), node.inputs[1 - side]
        if bias is None or producer(product, "MatMul") is None or product is None:
            continue
        scaled = _scale_value(product, factor)
        if scaled is not None:
            return op("Add", [scaled, _multiply_constant(node.inputs[side], bias, factor)], name=node.name)
    return None


def _multiply_constant(value: ir.Value | None, array: np.ndarray, factor: float) -> ir.Value:
    scaled = np.empty(array.shape, array.dtype)
    np.multiply(array, np.float64(factor), out=scaled, casting="same_kind")
    return const(scaled, value)


_CLAIMS = (
    SpeedClaim(
        "the scale of attention, for 128 positions",
        """(float[1,128,64] x) => (float[1,128,128] y) {
            q = MatMul (x, w) k = MatMul (x, v) t = Transpose <perm = [0,2,1]> (k) s = MatMul (q, t)
            m = Mul (s, c) y = Softmax <axis = -1> (m) }""",
        gains=True,
        constants={"w": (64, 64), "v": (64, 64), "c": 0.125},
    ),
)
RULE = Rule("matmul+scale", ("Mul", "Div"), match, rounds=True, claims=_CLAIMS)
