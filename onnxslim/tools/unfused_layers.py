"""Layers between Q/DQ that the CPU runs in float all the same, told from the graph alone.

Each condition is one that :mod:`onnxslim.quantization.conformance.fusion_claims` executes on the installed runtime.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.graph.constants import get_const_array, get_const_tensor
from onnxslim.graph.layers import CONV_OPS, LAYER_OPS, get_output_axis

_WIDE_TYPES = (ir.DataType.INT16, ir.DataType.UINT16)
#: How far the scale of an int32 bias may be from that of the products that it is added to, as a share.
_MAX_SCALE_ERROR = 1e-2
#: Why a layer of a float output and a bias stays float.
_FLOAT_BIAS = "its bias and its output are float"


def find_unfused_layers(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """Every Conv, Gemm and MatMul whose input is dequantized and that runs in float, with the reason in one clause."""
    for node in model.graph.all_nodes():
        if node.op_type not in LAYER_OPS - {"ConvTranspose"} or node.domain or len(node.inputs) < 2:
            continue
        activation = _get_dequantize(node.inputs[0])
        if activation is None or get_const_tensor(activation.inputs[0]) is not None or _has_many_scales(activation):
            continue
        why = _explain_inputs(node, activation) or _explain_output(node)
        if why is not None:
            yield node, why


def _explain_inputs(node: ir.Node, activation: ir.Node) -> str | None:
    zero_point = get_const_tensor(activation.inputs[2]) if len(activation.inputs) > 2 else None
    if zero_point is not None and zero_point.dtype in _WIDE_TYPES:
        return "activations of 16 bits have no kernel"
    weight = _get_dequantize(node.inputs[1])
    stored = None if weight is None else get_const_tensor(weight.inputs[0])
    scales = None if weight is None else get_const_array(weight.inputs[1])
    if weight is None or stored is None or scales is None:
        return None  # a product of two activations, or weights that the runtime quantizes itself
    rank = len(stored.shape)
    is_by_output = weight.attributes.get_int("axis", 1) % max(rank, 1) == get_output_axis(node) % max(rank, 1)
    if node.op_type == "MatMul" and scales.size > 1 and not is_by_output:
        return "its weights have a scale for each input"
    return _explain_bias(node, activation, scales)


def _explain_bias(node: ir.Node, activation: ir.Node, scales: np.ndarray) -> str | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    if node.op_type == "Gemm" and node.attributes.get_float("alpha", 1.0) != 1.0:
        return "its alpha is not 1"
    bias = _get_dequantize(node.inputs[2])
    if bias is None:
        return _FLOAT_BIAS if node.op_type == "Gemm" and not _is_quantized(node.outputs[0]) else None
    zero_point = get_const_array(bias.inputs[2]) if len(bias.inputs) > 2 else None
    if zero_point is not None and zero_point.any():
        return "its int32 bias has a zero point"
    given, expected = get_const_array(bias.inputs[1]), get_const_array(activation.inputs[1])
    if given is None or expected is None:
        return None
    expected = np.ravel(expected).astype(np.float64) * np.ravel(scales)
    if given.size in (1, expected.size) and np.abs(np.ravel(given) / expected - 1).max() > _MAX_SCALE_ERROR:
        return "its int32 bias has another scale than input and weights together"
    return None


def _explain_output(node: ir.Node) -> str | None:
    output = node.outputs[0]
    if node.op_type in CONV_OPS:
        readers = [reader for reader, _ in output.uses()]
        if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip") and not output.is_graph_output():
            output = readers[0].outputs[0]
            if any(_exceeds(reader, readers[0]) for reader, _ in output.uses()):
                return f"the range behind its {readers[0].op_type} is wider than what comes out of that"
        if not _is_quantized(output):
            has_quantized = any(reader.op_type == "QuantizeLinear" for reader, _ in output.uses())
            return "its output is read in float as well" if has_quantized else "its output is not quantized"
    elif node.op_type == "MatMul" and _becomes_float_gemm(node):
        return _FLOAT_BIAS
    return None


def _becomes_float_gemm(node: ir.Node) -> bool:
    """Whether the runtime makes a Gemm of the MatMul and the Add of a vector behind it, whose bias is float."""
    readers = [reader for reader, _ in node.outputs[0].uses()]
    if len(readers) != 1 or readers[0].op_type != "Add" or _find_rank(node.inputs[0]) != 2:
        return False
    vectors = [tensor for value in readers[0].inputs if (tensor := get_const_tensor(value)) is not None]
    return bool(vectors) and len(vectors[0].shape) == 1 and not _is_quantized(readers[0].outputs[0])


def _is_quantized(value: ir.Value) -> bool:
    """Whether QuantizeLinear, and nothing else, reads ``value``."""
    readers = [reader for reader, _ in value.uses()]
    return bool(readers) and not value.is_graph_output() and all(r.op_type == "QuantizeLinear" for r in readers)


def _exceeds(quantize: ir.Node, clip: ir.Node) -> bool:
    """Whether the codes of ``quantize`` reach beyond what ``clip``, a Relu or Clip, lets through."""
    if quantize.op_type != "QuantizeLinear" or len(quantize.inputs) < 3:
        return False
    scale, zero_point = get_const_array(quantize.inputs[1]), get_const_array(quantize.inputs[2])
    if scale is None or zero_point is None or scale.size != 1 or zero_point.dtype.kind not in "iu":
        return False  # float8 and 4 bits are no integers to NumPy, and have no kernel for other reasons
    codes, step = np.iinfo(zero_point.dtype), float(scale.reshape(()))
    low, high = (step * (code - int(zero_point.reshape(()))) for code in (codes.min, codes.max))
    least, most = get_clip_bounds(clip)
    slack = 1e-3 * step
    return (least is not None and low < least - slack) or (most is not None and high > most + slack)


def _has_many_scales(dequantize: ir.Node) -> bool:
    """Whether an activation has a scale for each channel, which no kernel takes: so layers are kept in float on purpose."""
    scale = get_const_tensor(dequantize.inputs[1])
    return scale is not None and scale.size > 1


def _find_rank(value: ir.Value | None) -> int | None:
    """The rank of ``value``, of which the file may tell only before it was quantized."""
    while value is not None and value.shape is None:
        producer = value.producer()
        is_conversion = producer is not None and producer.op_type in ("QuantizeLinear", "DequantizeLinear")
        value = producer.inputs[0] if producer is not None and is_conversion else None
    return None if value is None or value.shape is None else len(value.shape)


def _get_dequantize(value: ir.Value | None) -> ir.Node | None:
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None
