"""Quantising, with straight-through gradients (Bengio et al. 2013, arXiv:1308.3432).

A quantised tensor travels as a float that holds whole numbers, so gradients reach through it: rounding passes them as
they are, saturation stops them. It becomes an integer again where it leaves the graph.
"""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.errors import UnsupportedError
from onnxslim.recover.ops.call import Call, Op
from onnxslim.recover.ops.cast import convert
from onnxslim.recover.ops.convolution import conv
from onnxslim.recover.ops.elementwise import rounded
from onnxslim.recover.ops.linear import aligned_zero
from onnxslim.recover.tensors import BOUNDS


def along(parameter: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point as it broadcasts over ``x``: per tensor, per slice of ``axis``, or per block."""
    if block:
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return parameter.reshape(shape)


def fake_levels(x: Tensor, scale: Tensor, zero: Tensor | float, low: int, high: int) -> Tensor:
    """clamp(round(x / scale) + zero, low, high), as a float; halves to even."""
    return torch.clamp(rounded(x / scale) + zero, low, high)


def quantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Whole numbers, saturated at the bounds of the zero point's type."""
    to = _target(call, zero)
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    divisor = along(scale, x, axis, block).float()
    if to not in BOUNDS:
        return convert(x.float() / divisor, to, call.name, saturate=bool(call.get("saturate", 1)))
    offset = 0.0 if zero is None else along(zero, x, axis, block).float()
    return fake_levels(x.float(), divisor, offset, *BOUNDS[to])


def _target(call: Call, zero: Tensor | None) -> ir.DataType:
    if zero is not None:
        declared = call.input_type(2)
        if declared is None:
            raise UnsupportedError(f"{call.name}: QuantizeLinear with a zero point of unknown type")
        return declared
    return ir.DataType(call.get("output_dtype") or ir.DataType.UINT8.value)


def dequantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(x - zero) · scale."""
    axis, block = call.get("axis", 1), call.get("block_size", 0)
    factor = along(scale, x, axis, block)
    wide = x.double() if x.dtype == torch.int32 else x.float()
    if zero is not None:
        wide = wide - along(zero.float(), x, axis, block)
    y = wide * factor.to(wide.dtype)
    declared = call.get("output_dtype", 0)
    return convert(y, ir.DataType(declared), call.name) if declared else y.to(scale.dtype)


def dynamic_quantize_linear(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 by the tensor's own range, which includes zero."""
    low, high = torch.clamp(x.min(), max=0), torch.clamp(x.max(), min=0)
    scale = (high - low) / 255
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    zero = torch.clamp(rounded(-low / scale), 0, 255)
    return fake_levels(x, scale, zero, 0, 255), scale, zero


def qlinear_matmul(
    call: Call, a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, sy: Tensor, zy: Tensor
) -> Tensor:
    """Quantised matrices in and out."""
    product = (a.double() - aligned_zero(za, a, -2)) @ (b.double() - aligned_zero(zb, b, -1))
    factor = aligned_zero(sa, a, -2) * aligned_zero(sb, b, -1)
    low, high = BOUNDS[call.input_type(7) or ir.DataType.UINT8]
    return fake_levels(product * factor, sy.double(), zy.double(), low, high).float()


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
    scale, zero = along(sw, w, 0, 0).double(), along(zw, w, 0, 0).double()
    b = None if bias is None else bias.double() * sx.double() * sw.double()
    y = conv(call, (x.double() - zx.double()) * sx.double(), (w.double() - zero) * scale, b)
    low, high = BOUNDS[call.input_type(7) or ir.DataType.UINT8]
    return fake_levels(y, sy.double(), zy.double(), low, high).float()


OPS: dict[str, Op] = {
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}
