"""Reductions, running sums and orders along axes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from onnxslim.recovery.ops.call import Call, OpFunction, resolve_axes
from onnxslim.recovery.ops.elementwise import take_root

#: reduces the axes given, which it keeps with size 1
Reducer = Callable[[Tensor, list[int]], Tensor]


def _make_reduction(reducer: Reducer) -> OpFunction:
    def run(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = resolve_axes(call, axes, x.dim())
        if not chosen and not call.get("noop_with_empty_axes", 0):
            chosen = list(range(x.dim()))
        if not chosen:
            # "No axes" still applies what the reduction does to single elements, e.g. the absolute value of L1.
            return reducer(x.unsqueeze(0), [0]).squeeze(0)
        y = reducer(x, chosen)
        return y if call.get("keepdims", 1) else y.reshape([n for axis, n in enumerate(x.shape) if axis not in chosen])

    return run


def _sum(x: Tensor, axes: list[int]) -> Tensor:
    return x.sum(axes, keepdim=True, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int]) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=True)
    count = torch.tensor(x.shape)[axes].prod()
    return torch.div(_sum(x, axes), count, rounding_mode="trunc").to(x.dtype)


def _prod(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True, dtype=x.dtype)
    return x


def _make_extreme(sign: int) -> Reducer:
    def run(x: Tensor, axes: list[int]) -> Tensor:
        if x.dtype == torch.bool:
            return run(x.to(torch.uint8), axes).bool()
        if any(x.shape[axis] == 0 for axis in axes):
            if x.is_floating_point():
                neutral = -sign * math.inf
            else:
                neutral = torch.iinfo(x.dtype).min if sign > 0 else torch.iinfo(x.dtype).max
            return torch.full([1 if a in axes else n for a, n in enumerate(x.shape)], neutral, dtype=x.dtype)
        return (x.amax if sign > 0 else x.amin)(axes, keepdim=True)

    return run


def _log_sum_exp(x: Tensor, axes: list[int]) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        return torch.log(_sum(torch.exp(x), axes))
    wide = x if x.is_floating_point() else x.double()
    return torch.logsumexp(wide, axes, keepdim=True).to(x.dtype)


def _compute_in_float(function: Reducer) -> Reducer:
    """A reduction that leaves the integers on its way, and comes back to them."""
    return lambda x, axes: function(x if x.is_floating_point() else x.double(), axes).to(x.dtype)


def _make_arg_op(sign: int) -> OpFunction:
    """The position of the largest (``sign`` 1) or smallest (-1) along an axis; ties go to the first, or the last."""

    def run(call: Call, x: Tensor) -> Tensor:
        axis, keep = call.get("axis", 0), bool(call.get("keepdims", 1))
        find = torch.argmax if sign > 0 else torch.argmin
        if call.get("select_last_index", 0):
            return x.shape[axis] - 1 - find(x.flip(axis), axis, keepdim=keep)
        return find(x, axis, keepdim=keep)

    return run


def _make_cumulative(function: Callable[..., Tensor], neutral: int) -> OpFunction:
    def run(call: Call, x: Tensor, axis: Tensor) -> Tensor:
        along = int(axis)
        y = x.flip(along) if call.get("reverse", 0) else x
        if call.get("exclusive", 0):
            first = torch.full_like(y.narrow(along, 0, 1), neutral)
            y = torch.cat([first, y.narrow(along, 0, y.shape[along] - 1)], along)
        y = function(y, along, dtype=x.dtype)
        return y.flip(along) if call.get("reverse", 0) else y

    return run


def top_k(call: Call, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest or smallest along an axis and where they were; equal ones in their order."""
    count = call.get("k") if k is None else int(k)
    axis, largest = call.get("axis", -1), bool(call.get("largest", 1))
    values, where = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), where.narrow(axis, 0, count)


OPS: dict[str, OpFunction] = {
    "ArgMax": _make_arg_op(1),
    "ArgMin": _make_arg_op(-1),
    "CumProd": _make_cumulative(torch.cumprod, 1),
    "CumSum": _make_cumulative(torch.cumsum, 0),
    "ReduceL1": _make_reduction(lambda x, axes: _sum(x.abs(), axes)),
    "ReduceL2": _make_reduction(_compute_in_float(lambda x, axes: take_root(_sum(x * x, axes)))),
    "ReduceLogSum": _make_reduction(_compute_in_float(lambda x, axes: torch.log(_sum(x, axes)))),
    "ReduceLogSumExp": _make_reduction(_log_sum_exp),
    "ReduceMax": _make_reduction(_make_extreme(1)),
    "ReduceMean": _make_reduction(_mean),
    "ReduceMin": _make_reduction(_make_extreme(-1)),
    "ReduceProd": _make_reduction(_prod),
    "ReduceSum": _make_reduction(_sum),
    "ReduceSumSquare": _make_reduction(lambda x, axes: _sum(x * x, axes)),
    "TopK": top_k,
}
