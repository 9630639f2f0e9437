"""Comparisons, truth values and bits."""

from __future__ import annotations

import torch
from torch import Tensor

from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function
from onnxslim.recovery.ops.elementwise import wrap_broadcast


def bit_shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Shift left or right; bits that leave the type are lost."""
    return torch.bitwise_left_shift(a, b) if call.get("direction") == "LEFT" else torch.bitwise_right_shift(a, b)


OPS: dict[str, OpFunction] = {
    "And": wrap_broadcast(torch.logical_and),
    "BitShift": bit_shift,
    "BitwiseAnd": wrap_function(torch.bitwise_and),
    "BitwiseNot": wrap_function(torch.bitwise_not),
    "BitwiseOr": wrap_function(torch.bitwise_or),
    "BitwiseXor": wrap_function(torch.bitwise_xor),
    "Equal": wrap_broadcast(torch.eq),
    "Greater": wrap_broadcast(torch.gt),
    "GreaterOrEqual": wrap_broadcast(torch.ge),
    "Less": wrap_broadcast(torch.lt),
    "LessOrEqual": wrap_broadcast(torch.le),
    "Not": wrap_function(torch.logical_not),
    "Or": wrap_broadcast(torch.logical_or),
    "Where": wrap_function(torch.where),
    "Xor": wrap_broadcast(torch.logical_xor),
}
