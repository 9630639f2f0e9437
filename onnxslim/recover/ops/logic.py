"""Comparisons, truth values and bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onnxslim.recover.ops.call import Call, Op, plain
from onnxslim.recover.ops.elementwise import broadcast


def _compare(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    return lambda call, a, b: function(*broadcast(call, a, b))


def bit_shift(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Shift left or right; bits that leave the type are lost."""
    return (
        torch.bitwise_left_shift(a, b) if call.get("direction") == "LEFT" else torch.bitwise_right_shift(a, b)
    )


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where the condition holds, b elsewhere."""
    return torch.where(condition, a, b)


OPS: dict[str, Op] = {
    "And": _compare(torch.logical_and),
    "BitShift": bit_shift,
    "BitwiseAnd": plain(torch.bitwise_and),
    "BitwiseNot": plain(torch.bitwise_not),
    "BitwiseOr": plain(torch.bitwise_or),
    "BitwiseXor": plain(torch.bitwise_xor),
    "Equal": _compare(torch.eq),
    "Greater": _compare(torch.gt),
    "GreaterOrEqual": _compare(torch.ge),
    "Less": _compare(torch.lt),
    "LessOrEqual": _compare(torch.le),
    "Not": plain(torch.logical_not),
    "Or": _compare(torch.logical_or),
    "Where": plain(where),
    "Xor": _compare(torch.logical_xor),
}
