"""Quantising, with straight-through gradients (Bengio et al. 2013, arXiv:1308.3432).

A quantised tensor travels as a float that holds whole numbers, so gradients reach through it: rounding passes them as
they are, saturation stops them. It becomes an integer again where it leaves the graph.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.call import Call, OpFunction
from onnxslim.recovery.ops.cast import convert
from onnxslim.recovery.ops.convolution import conv
from onnxslim.recovery.ops.elementwise import round_straight_through
from onnxslim.recovery.ops.linear import align_zero_point
from onnxslim.recovery.tensor_conversion import INTEGER_BOUNDS


def broadcast_qparam(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point as it broadcasts over ``x``: per tensor, per slice of ``axis``, or per block."""
    if block_size:
        return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return parameter.reshape(shape)


def quantize_straight_through(x: Tensor, scale: Tensor, zero: Tensor | float, low: int, high: int) -> Tensor:
    """clamp(round(x / scale) + zero, low, high), as a float; halves to even."""
    return torch.clamp(round_straight_through(x / scale) + zero, low, high)


def quantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Whole numbers, saturated at the bounds of the zero point's type."""
    to = ir.DataType(call.get("output_dtype") or ir.DataType.UINT8) if zero is None else call.input_type(2)
    if to is None:
        raise UnsupportedError(f"{call.name}: QuantizeLinear with a zero point of unknown type")
    axis, block_size = call.get("axis", 1), call.get("block_size", 0)
    divisor = broadcast_qparam(scale, x, axis, block_size).float()
    if to not in INTEGER_BOUNDS:
        return convert(x.float() / divisor, to, call.name, saturate=bool(call.get("saturate", 1)))
    offset = 0.0 if zero is None else broadcast_qparam(zero, x, axis, block_size).float()
    return quantize_straight_through(x.float(), divisor, offset, *INTEGER_BOUNDS[to])


def dequantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(x - zero) · scale."""
    axis, block_size = call.get("axis", 1), call.get("block_size", 0)
    factor = broadcast_qparam(scale, x, axis, block_size)
    wide = x.double() if x.dtype == torch.int32 else x.float()
    if zero is not None:
        wide = wide - broadcast_qparam(zero.float(), x, axis, block_size)
    y = wide * factor.to(wide.dtype)
    declared = call.get("output_dtype", 0)
    return convert(y, ir.DataType(declared), call.name) if declared else y.to(scale.dtype)


def dynamic_quantize_linear(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 by the tensor's own range, which includes zero."""
    low, high = torch.clamp(x.min(), max=0), torch.clamp(x.max(), min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.clamp(round_straight_through(-low / scale), 0, 255)
    return quantize_straight_through(x, scale, zero, 0, 255), scale, zero


def qlinear_matmul(
    call: Call, a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, sy: Tensor, zy: Tensor
) -> Tensor:
    """Quantised matrices in and out."""
    product = (a.double() - align_zero_point(za, a, -2)) @ (b.double() - align_zero_point(zb, b, -1))
    factor = align_zero_point(sa, a, -2) * align_zero_point(sb, b, -1)
    low, high = INTEGER_BOUNDS[call.input_type(7) or ir.DataType.UINT8]
    return quantize_straight_through(product * factor, sy.double(), zy.double(), low, high).float()


def qlinear_conv(
    call: Call,
    x: Tensor,
    sx: Tensor,
    zx: Tensor,
    w: Tensor,
    sw: Tensor,
    zw: Tensor,
    sy: Tensor,
    zy: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Quantised tensors in and out; the bias counts in units of the input's scale times the weight's."""
    scale, zero = broadcast_qparam(sw, w, 0, 0).double(), broadcast_qparam(zw, w, 0, 0).double()
    b = None if bias is None else bias.double() * sx.double() * sw.double()
    y = conv(call, (x.double() - zx.double()) * sx.double(), (w.double() - zero) * scale, b)
    low, high = INTEGER_BOUNDS[call.input_type(7) or ir.DataType.UINT8]
    return quantize_straight_through(y, sy.double(), zy.double(), low, high).float()


OPS: dict[str, OpFunction] = {
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}
