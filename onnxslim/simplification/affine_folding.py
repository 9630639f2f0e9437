"""The algebra of folding scale and shift into the linear op before: g·(W∗x + b) + h = (gW)∗x + (gb + h)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import LinearLayer
from onnxslim.simplification.rule import MatchResult, const, has_single_use, op, producer

#: Layers whose result a scale and a shift can be folded into.
LINEAR_OPS = ("Conv", "ConvTranspose", "Gemm")


def fold_affine(
    node: ir.Node, source: ir.Value | None, gain: np.ndarray | None, shift: np.ndarray | None, like: ir.Value | None = None
) -> MatchResult:
    """Fold ``gain``·y + ``shift`` into the Conv, ConvTranspose or Gemm that makes ``source``.

    Args:
        node: Computes gain·source + shift, and goes.
        source: What the linear op makes.
        gain: float64, one per output channel, or None for 1.
        shift: float64, one per output channel, or None for 0.
        like: What the new bias is called after where there was none.
    """
    linear = producer(source, *LINEAR_OPS)
    if linear is None or source is None:
        return None
    if not has_single_use(source):
        return f"the result of {linear.op_type} is read elsewhere"
    weight = get_const_array(linear.inputs[1])
    bias_value = linear.inputs[2] if len(linear.inputs) > 2 else None
    bias = get_const_array(bias_value)
    if weight is None or (bias_value is not None and bias is None):
        return f"the weights of {linear.op_type} are not constants"
    if weight.dtype.kind != "f":
        return f"the weights of {linear.op_type} are not float"
    layer = LinearLayer(linear)
    channels = layer.outputs
    if any(factor is not None and factor.shape != (channels,) for factor in (gain, shift)):
        return f"it is not one factor for each of the {channels} channels of {linear.op_type}"
    if linear.op_type == "Gemm":
        return _fold_gemm(node, layer, gain, shift, like)
    new_weight = linear.inputs[1] if gain is None else const(_scale_weight(layer, gain), linear.inputs[1])
    new_bias = np.zeros(channels) if bias is None else np.asarray(bias, np.float64)
    new_bias = (new_bias if gain is None else new_bias * gain) + (0 if shift is None else shift)
    if not new_bias.any():
        inputs = [linear.inputs[0], new_weight]  # a bias of zeros is none
    else:
        like = bias_value if bias_value is not None else like or node.outputs[0]
        inputs = [linear.inputs[0], new_weight, const(new_bias.astype(weight.dtype), like)]
    return {node.outputs[0]: op(linear.op_type, inputs, linear.attributes, name=linear.name)}


def _scale_weight(layer: LinearLayer, gain: np.ndarray) -> np.ndarray:
    weight, groups = layer.weight, layer.groups
    if layer.op == "ConvTranspose" and groups > 1:
        # W is (C_in, C_out / groups, …) and input channel i belongs to group i // (C_in / groups).
        factor = gain.reshape(groups, -1).repeat(weight.shape[0] // groups, axis=0)
        factor = factor.reshape(*factor.shape, *[1] * (weight.ndim - 2))
    else:
        factor = gain.reshape([-1 if a == layer.output_axis else 1 for a in range(weight.ndim)])
    scaled = np.empty(weight.shape, weight.dtype)
    np.multiply(weight, factor, out=scaled, casting="same_kind")  # in float64, rounded once
    return scaled


def _fold_gemm(
    node: ir.Node, layer: LinearLayer, gain: np.ndarray | None, shift: np.ndarray | None, like: ir.Value | None
) -> MatchResult:
    """Gemm computes α·A·B + β·C: the gain scales B and C, the shift joins β·C, which is then stored with β = 1."""
    linear, weight, bias, channels = layer.node, layer.weight, layer.bias, layer.outputs
    total = np.zeros(channels) if bias is None else np.asarray(bias, np.float64) * linear.attributes.get_float("beta", 1.0)
    if total.ndim and total.shape[-1] not in (1, channels):
        return "the bias of Gemm does not broadcast over channels"
    total = (total if gain is None else total * gain) + (0 if shift is None else shift)
    attributes = {name: value for name, value in linear.attributes.items() if name != "beta"}
    new_weight = linear.inputs[1] if gain is None else const(_scale_weight(layer, gain), linear.inputs[1])
    new_bias = const(total.astype(weight.dtype), linear.inputs[2] if bias is not None else like or node.outputs[0])
    return {node.outputs[0]: op("Gemm", [linear.inputs[0], new_weight, new_bias], attributes, name=linear.name)}
