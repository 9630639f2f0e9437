"""Gemm((x − o) · s, W, b) → Gemm(x, diag(s)·W, b − (o · s)·W): the Scaler that scikit-learn's pipelines begin with.

Features far from zero for their spread keep it: x · W then is large, and what is left of it after b has few digits.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import LinearLayer
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, has_single_use, op

#: How many times its spread a feature may lie from zero: so many times as large are its products, and their rounding.
_MAX_OFFSET = 64.0


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Gemm."""
    scaled = node.inputs[0]
    scaler = None if scaled is None else scaled.producer()
    if scaled is None or scaler is None or (scaler.domain, scaler.op_type) != ("ai.onnx.ml", "Scaler"):
        return None
    source, weight = scaler.inputs[0], get_const_array(node.inputs[1])
    if source is None or source.dtype is not ir.DataType.FLOAT or weight is None or weight.dtype != np.float32:
        return "its input or the weights are not float32, or not constant"
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    if not has_single_use(scaled) or (bias_value is not None and get_const_array(bias_value) is None):
        return "the result of Scaler is read elsewhere, or the bias is not constant"
    layer = LinearLayer(node)
    features, channels = weight.shape[layer.input_axis], layer.outputs
    offsets, scales = (np.asarray(scaler.attributes.get_floats(name, []), np.float64) for name in ("offset", "scale"))
    if node.attributes.get_int("transA", 0) or {offsets.size, scales.size} - {1, features}:
        return "Scaler has not one offset and one scale for each feature"
    if not np.isfinite(offsets * scales).all() or (np.abs(offsets * scales) > _MAX_OFFSET).any():
        return "features lie so far from zero that their products would lose digits"
    bias = np.zeros(channels) if bias_value is None else np.asarray(get_const_array(bias_value), np.float64)
    bias = bias * node.attributes.get_float("beta", 1.0)
    if bias.ndim > 1 and bias.shape[0] != 1:
        return "the bias is not one row"
    inner = weight.astype(np.float64) if layer.output_axis == 1 else weight.T.astype(np.float64)  # (features, channels)
    shift = np.broadcast_to(offsets * scales, features) @ inner * node.attributes.get_float("alpha", 1.0)
    factor = np.broadcast_to(scales, features)
    new_weight = weight * (factor[:, None] if layer.output_axis == 1 else factor[None]).astype(np.float64)
    if (np.abs(new_weight) > np.finfo(np.float32).max).any():
        return "its products with the weights leave float32's range"
    attributes = {name: value for name, value in node.attributes.items() if name != "beta"}
    inputs: list[ir.Value | None] = [
        source,
        const(new_weight.astype(np.float32), node.inputs[1]),
        const((bias - shift).astype(np.float32), bias_value if bias_value is not None else node.outputs[0]),
    ]
    return {node.outputs[0]: op("Gemm", inputs, attributes, name=node.name)}


RULE = Rule("scaler+gemm", ("Gemm",), match, rounds=True)
