"""Matrix products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function


def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha · A·B + beta · C, either factor transposed if asked."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    left = a.T if call.get("transA", 0) else a
    if alpha == beta == 1.0 and call.get("transB", 0) and (c is None or c.dim() == 1) and b.is_floating_point():
        return functional.linear(left, b, c)
    product = left @ (b.T if call.get("transB", 0) else b)
    product = product if alpha == 1.0 else alpha * product
    return product if c is None else product + (c if beta == 1.0 else beta * c)


def align_zero_point(zero: Tensor | None, like: Tensor, axis: int) -> Tensor:
    """A zero point of a matrix factor, as float64: one number, or one a row (``axis`` -2) or column (-1)."""
    if zero is None:
        return torch.zeros((), dtype=torch.float64)
    if zero.dim() == 1 and zero.numel() > 1:
        shape = [1] * like.dim()
        shape[axis] = -1
        return zero.double().reshape(shape)
    return zero.double() if zero.dim() != 1 else zero.double().reshape(())


def matmul_integer(call: Call, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None) -> Tensor:
    """Product of integers, computed in float64, which holds every sum exactly."""
    left, right = a.double() - align_zero_point(a_zero, a, -2), b.double() - align_zero_point(b_zero, b, -1)
    return (left @ right).to(torch.int32)


OPS: dict[str, OpFunction] = {
    "Det": wrap_function(torch.linalg.det),
    "Einsum": lambda call, *factors: torch.einsum(call.get("equation"), *factors),
    "Gemm": gemm,
    "MatMul": wrap_function(torch.matmul),
    "MatMulInteger": matmul_integer,
}
