"""ONNX's tensors as torch's, and back.

torch has no 4-bit integers and computes on no unsigned integer but uint8, so these travel as wider signed ones
(``TORCH_DTYPES``) and get their declared type back at the graph's outputs, where numpy wraps them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from onnxslim.core.errors import UnsupportedError

#: ONNX type -> the torch type its values have here.
TORCH_DTYPES: dict[ir.DataType, torch.dtype] = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.FLOAT8E4M3FN: torch.float8_e4m3fn,
    ir.DataType.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    ir.DataType.FLOAT8E5M2: torch.float8_e5m2,
    ir.DataType.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    ir.DataType.COMPLEX64: torch.complex64,
    ir.DataType.COMPLEX128: torch.complex128,
    ir.DataType.BOOL: torch.bool,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.UINT16: torch.int32,
    ir.DataType.UINT32: torch.int64,
    ir.DataType.UINT64: torch.int64,
    ir.DataType.INT4: torch.int8,
    ir.DataType.UINT4: torch.uint8,
    ir.DataType.INT2: torch.int8,
    ir.DataType.UINT2: torch.uint8,
}

#: Types that numpy cannot hand over: read and written through an unsigned integer of the same width.
_RAW_DTYPES = {torch.bfloat16: np.uint16} | dict.fromkeys(
    (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz), np.uint8
)

#: Integer types by their bounds, for rounding that saturates.
INTEGER_BOUNDS: dict[ir.DataType, tuple[int, int]] = {
    ir.DataType.INT2: (-2, 1),
    ir.DataType.UINT2: (0, 3),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-(2**15), 2**15 - 1),
    ir.DataType.UINT16: (0, 2**16 - 1),
    ir.DataType.INT32: (-(2**31), 2**31 - 1),
}


def to_torch_dtype(dtype: ir.DataType | None, subject: str) -> torch.dtype:
    """The torch type of ``dtype``; ``subject`` is named when there is none.

    Raises:
        UnsupportedError: torch cannot hold it (strings, 4- and 6-bit floats).
    """
    if dtype not in TORCH_DTYPES:
        raise UnsupportedError(f"{subject}: torch has no {dtype.name if dtype else 'such'} tensors")
    return TORCH_DTYPES[dtype]


def to_torch(array: np.ndarray, dtype: ir.DataType | None = None) -> torch.Tensor:
    """A private copy of ``array`` as torch's; ``dtype`` where numpy's own does not tell.

    Raises:
        UnsupportedError: torch cannot hold it.
    """
    torch_dtype = to_torch_dtype(dtype or ir.DataType.from_numpy(array.dtype), "a constant")
    if torch_dtype in _RAW_DTYPES:
        raw = np.array(array, order="C").view(_RAW_DTYPES[torch_dtype])
        return torch.from_numpy(raw).view(torch_dtype)
    return torch.from_numpy(np.array(array, dtype=torch.empty(0, dtype=torch_dtype).numpy().dtype, order="C"))


def to_numpy(tensor: torch.Tensor, dtype: ir.DataType | None = None) -> np.ndarray:
    """``tensor`` as numpy, in ``dtype`` where it travelled as something wider."""
    tensor = tensor.detach().cpu().resolve_conj()
    own = None if dtype is None else TORCH_DTYPES.get(dtype)
    if own is not None and (own in _RAW_DTYPES or (tensor.is_floating_point() and not own.is_floating_point)):
        tensor = tensor.to(own)  # a quantised value may have travelled as a float
    if tensor.dtype in _RAW_DTYPES and dtype is not None:
        raw: np.ndarray = tensor.contiguous().view(torch.uint8 if tensor.itemsize == 1 else torch.uint16).numpy()
        return raw.view(dtype.numpy())
    array: np.ndarray = tensor.numpy()
    return array if dtype is None else array.astype(dtype.numpy(), copy=False)
