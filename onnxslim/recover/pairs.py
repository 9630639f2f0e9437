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

from onnxslim.graph.constants import constant
from onnxslim.recover.ops.call import Call, Op
from onnxslim.recover.tensors import BOUNDS

_TYPES = (ir.DataType.INT8, ir.DataType.UINT8)


def paired(node: ir.Node) -> Op | None:
    """The node's part in a pair, if it has one: the first node rounds and scales back, the second passes on."""
    if node.op_type == "DequantizeLinear" and node.inputs[0] is not None:
        producer = node.inputs[0].producer()
        first = producer is not None and producer.op_type == "QuantizeLinear" and paired(producer) is not None
        return _passed_on if first else None
    if node.op_type != "QuantizeLinear":
        return None
    grid = _grid(node)
    readers = [use.node for use in node.outputs[0].uses()]
    if grid is None or not readers or node.outputs[0].is_graph_output():
        return None
    if any(reader.op_type != "DequantizeLinear" or _grid(reader) != grid for reader in readers):
        return None
    scale, zero, low, high = grid

    def rounded(call: Call, x: Tensor, *parameters: Tensor) -> Tensor:
        y = functional.hardtanh(x, (low - zero) * scale, (high - zero) * scale)
        with torch.no_grad():
            # hardtanh's gradient looks at its input alone, so its result may change under it.
            return y.div_(scale).round_().mul_(scale)

    return rounded


def _passed_on(call: Call, x: Tensor, *parameters: Tensor) -> Tensor:
    return x


def _grid(node: ir.Node) -> tuple[float, int, int, int] | None:
    """(scale, zero point, lowest, highest code) of a per-tensor node; a vector of equal scales is one scale."""
    scale = constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    if scale is None or zero is None or scale.dtype != np.float32:
        return None
    kind = ir.DataType.from_numpy(zero.dtype)
    if kind not in _TYPES or (scale != scale.flat[0]).any() or (zero != zero.flat[0]).any():
        return None
    return float(scale.flat[0]), int(zero.flat[0]), *BOUNDS[kind]
