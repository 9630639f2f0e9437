"""BatchNormalization(x)·c + d → BatchNormalization(x) with γ·c and β·c + d, for constants of one number a channel.

The same when a second BatchNormalization follows. Wanted where no Conv precedes, as in DenseNet.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, find_operand, has_single_use, op
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Mul or Add after the BatchNormalization."""
    operand = find_operand(node, "BatchNormalization")
    if operand is None:
        return None
    at, value, norm = operand
    array, gamma, beta = (get_const_array(each) for each in (node.inputs[1 - at], *norm.inputs[1:3]))
    dims = symbolic_dims(value)
    if array is None or gamma is None or beta is None or dims is None:
        return None
    if not has_single_use(value) or any(output.name for output in norm.outputs[1:]):
        return "the result of BatchNormalization is read elsewhere"
    full = array.reshape([1] * (len(dims) - array.ndim) + list(array.shape)) if array.ndim <= len(dims) else None
    if full is None or array.dtype.kind != "f" or full.size not in (1, gamma.size) or full.shape[1] != full.size:
        return "its constant is not one number for each channel of BatchNormalization"
    factor = full.reshape(-1).astype(np.float64)
    scaled, shifted = (gamma * factor, beta * factor) if node.op_type == "Mul" else (gamma, beta + factor)
    new_gamma = const(np.asarray(scaled, gamma.dtype), norm.inputs[1]) if node.op_type == "Mul" else norm.inputs[1]
    new_beta = const(np.asarray(shifted, beta.dtype), norm.inputs[2])
    inputs = [norm.inputs[0], new_gamma, new_beta, *norm.inputs[3:]]
    return {node.outputs[0]: op("BatchNormalization", inputs, norm.attributes, name=norm.name)}


RULE = Rule("batchnorm+scale", ("Mul", "Add"), match, rounds=True)
