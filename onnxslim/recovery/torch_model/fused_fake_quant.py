"""A QuantizeLinear and the DequantizeLinear behind it as one operation, for training.

Apart they are right but slow: a dozen passes over every activation, forwards and backwards. Together they are a clamp,
whose gradient is the straight-through one, and a rounding of its result in place.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.graph.constants import get_const_array
from onnxslim.recovery.ops.call import Call, OpFunction
from onnxslim.recovery.tensor_conversion import INTEGER_BOUNDS

_INT8_TYPES = (ir.DataType.INT8, ir.DataType.UINT8)


def fuse_fake_quant(node: ir.Node) -> OpFunction | None:
    """The node's part in a pair, if it has one: the first node rounds and scales back, the second passes on."""
    if node.op_type == "DequantizeLinear" and node.inputs[0] is not None:
        producer = node.inputs[0].producer()
        is_fused = producer is not None and producer.op_type == "QuantizeLinear" and fuse_fake_quant(producer) is not None
        return _pass_through if is_fused else None
    if node.op_type != "QuantizeLinear":
        return None
    quant_params = _read_quant_params(node)
    readers = [use.node for use in node.outputs[0].uses()]
    if quant_params is None or not readers or node.outputs[0].is_graph_output():
        return None
    if any(reader.op_type != "DequantizeLinear" or _read_quant_params(reader) != quant_params for reader in readers):
        return None
    scale, zero_point, low, high = quant_params

    def fake_quantize(call: Call, x: Tensor, *parameters: Tensor) -> Tensor:
        y = functional.hardtanh(x, (low - zero_point) * scale, (high - zero_point) * scale)
        with torch.no_grad():
            # hardtanh's gradient looks at its input alone, so its result may change under it.
            return y.div_(scale).round_().mul_(scale)

    return fake_quantize


def _pass_through(call: Call, x: Tensor, *parameters: Tensor) -> Tensor:
    return x


def _read_quant_params(node: ir.Node) -> tuple[float, int, int, int] | None:
    """(scale, zero point, lowest, highest code) of a per-tensor node; a vector of equal scales is one scale."""
    scale = get_const_array(node.inputs[1])
    zero_point = get_const_array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if scale is None or zero_point is None or scale.dtype != np.float32:
        return None
    dtype = ir.DataType.from_numpy(zero_point.dtype)
    if dtype not in _INT8_TYPES or (scale != scale.flat[0]).any() or (zero_point != zero_point.flat[0]).any():
        return None
    return float(scale.flat[0]), int(zero_point.flat[0]), *INTEGER_BOUNDS[dtype]
