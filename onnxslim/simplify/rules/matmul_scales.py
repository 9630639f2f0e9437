"""MatMul(a · c, b · d) → MatMul(a · cd, b) for scalars c and d.

PyTorch's exporter writes scaled_dot_product_attention with the root of the scale on either side.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.rule import Found, Rule, Scene, const, op, producer, sole


def match(node: ir.Node, scene: Scene) -> Found:
    """The MatMul."""
    one, other = _scaled(node.inputs[0]), _scaled(node.inputs[1])
    if one is None or other is None:
        return None
    if not all(value is not None and sole(value) for value in node.inputs):
        return "a scaled factor is read elsewhere"
    both = one[1].astype(np.float64) * other[1].astype(np.float64)
    left = op("Mul", [one[0], const(both.astype(one[1].dtype), node.inputs[0])])
    return {node.outputs[0]: op("MatMul", [left, other[0]], name=node.name)}


def _scaled(value: ir.Value | None) -> tuple[ir.Value, np.ndarray] | None:
    """What is multiplied, and the scalar."""
    node = producer(value, "Mul")
    if node is None:
        return None
    for at in (0, 1):
        array, other = constant(node.inputs[at]), node.inputs[1 - at]
        if array is not None and array.size == 1 and array.ndim < 2 and array.dtype.kind == "f" and other is not None:
            return other, array
    return None


RULE = Rule("scales joined", ("MatMul",), match, rounds=True)
