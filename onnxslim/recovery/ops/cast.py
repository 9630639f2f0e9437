"""Changes of element type."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.call import Call, OpFunction
from onnxslim.recovery.tensor_conversion import INTEGER_BOUNDS, TORCH_DTYPES, to_torch_dtype

_FLOAT8_TYPES = {ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT8E5M2FNUZ}
#: Integer types narrower than what carries them: bits above are dropped.
_NARROW_TYPES = {getattr(ir.DataType, name) for name in "INT2 UINT2 INT4 UINT4 UINT16 UINT32".split()}


def convert(x: Tensor, to: ir.DataType, subject: str, *, saturate: bool = True) -> Tensor:
    """``x`` as ``to``: floats to integers drop the fraction, to 8-bit floats they saturate, or become what overflows.

    Raises:
        UnsupportedError: torch has no such type; ``subject`` is named.
    """
    dtype = to_torch_dtype(to, subject)
    if x.dtype.itemsize == 1 and x.dtype.is_floating_point:
        x = x.float()  # torch does not compute on 8-bit floats
    if to in _FLOAT8_TYPES:
        return _to_float8(x.float(), to, saturate)
    if to in _NARROW_TYPES:
        return _wrap_bits(x, to)
    if dtype in (torch.uint8, torch.int8, torch.int16) and x.is_floating_point():
        return torch.nan_to_num(x).long().to(dtype)  # through a wide integer: a direct cast is undefined outside
    return x.to(dtype)


def _to_float8(x: Tensor, to: ir.DataType, saturate: bool) -> Tensor:
    dtype = TORCH_DTYPES[to]
    largest = torch.finfo(dtype).max
    narrow = torch.clamp(x, -largest, largest).to(dtype)
    if saturate:
        return narrow
    # Half a step above the largest number still rounds to it; beyond, an infinity where the type has one.
    mantissa = 3 if to in (ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ) else 2
    step = 2.0 ** (torch.tensor(largest).log2().floor().item() - mantissa)
    over = x.abs() >= largest + step / 2
    beyond = torch.sign(x) * float("inf") if to == ir.DataType.FLOAT8E5M2 else torch.full_like(x, float("nan"))
    return torch.where(over, beyond, narrow.float()).to(dtype)


def _wrap_bits(x: Tensor, to: ir.DataType) -> Tensor:
    bits, low = to.bitwidth, INTEGER_BOUNDS[to][0] if to in INTEGER_BOUNDS else 0
    wide = torch.nan_to_num(x).long() if x.is_floating_point() else x.long()
    return ((wide - low) % 2**bits + low).to(TORCH_DTYPES[to])


def cast(call: Call, x: Tensor) -> Tensor:
    """To the type the node names."""
    return convert(x, ir.DataType(call.get("to")), call.name, saturate=bool(call.get("saturate", 1)))


def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    """To the type of another tensor."""
    to = call.input_type(1)
    return x.to(like.dtype) if to is None else convert(x, to, call.name, saturate=bool(call.get("saturate", 1)))


def bit_cast(call: Call, x: Tensor) -> Tensor:
    """The same bits under a type of the same width."""
    source, to = call.input_type(0), ir.DataType(call.get("to"))
    same_width = source is not None and to_torch_dtype(source, call.name).itemsize == source.itemsize
    if not same_width or to_torch_dtype(to, call.name).itemsize != to.itemsize:
        raise UnsupportedError(f"{call.name}: BitCast to or from {to.name} travels as another width here")
    return x.contiguous().view(TORCH_DTYPES[to])


OPS: dict[str, OpFunction] = {"BitCast": bit_cast, "Cast": cast, "CastLike": cast_like}
