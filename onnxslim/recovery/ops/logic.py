"""Comparisons, truth values and bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function
from onnxslim.recovery.ops.elementwise import broadcast


def _make_broadcast_op(function: Callable[[Tensor, Tensor], Tensor]) -> OpFunction:
    return lambda call, a, b: function(*broadcast(call, a, b))


def bit_shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Shift left or right; bits that leave the type are lost."""
    return torch.bitwise_left_shift(a, b) if call.get("direction") == "LEFT" else torch.bitwise_right_shift(a, b)


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where the condition holds, b elsewhere."""
    return torch.where(condition, a, b)


OPS: dict[str, OpFunction] = {
    "And": _make_broadcast_op(torch.logical_and),
    "BitShift": bit_shift,
    "BitwiseAnd": wrap_function(torch.bitwise_and),
    "BitwiseNot": wrap_function(torch.bitwise_not),
    "BitwiseOr": wrap_function(torch.bitwise_or),
    "BitwiseXor": wrap_function(torch.bitwise_xor),
    "Equal": _make_broadcast_op(torch.eq),
    "Greater": _make_broadcast_op(torch.gt),
    "GreaterOrEqual": _make_broadcast_op(torch.ge),
    "Less": _make_broadcast_op(torch.lt),
    "LessOrEqual": _make_broadcast_op(torch.le),
    "Not": wrap_function(torch.logical_not),
    "Or": _make_broadcast_op(torch.logical_or),
    "Where": wrap_function(where),
    "Xor": _make_broadcast_op(torch.logical_xor),
}
