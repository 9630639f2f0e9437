"""Pooling windows over spatial axes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function
from onnxslim.recovery.ops.convolution import pad_spatial, resolve_window

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVG_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _resolve_pooling(call: Call, x: Tensor) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """(kernel, strides, dilations, pads before, pads after); the last grow where ``ceil_mode`` adds a window.

    A window that would start in the padding behind the image is not added (as in every runtime).
    """
    kernel = list(call.get("kernel_shape"))
    strides, dilations, before, after = resolve_window(call, x.shape[2:], kernel)
    if call.get("ceil_mode", 0):
        for i, size in enumerate(x.shape[2:]):
            span = size + before[i] + after[i] - dilations[i] * (kernel[i] - 1) - 1
            outputs = math.ceil(span / strides[i]) + 1
            if (outputs - 1) * strides[i] >= size + before[i]:
                outputs -= 1
            after[i] += max(0, (outputs - 1) * strides[i] - span)
    return kernel, strides, dilations, before, after


def max_pool(call: Call, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """The largest in each window, and where it is in the flat tensor if asked for."""
    kernel, strides, dilations, before, after = _resolve_pooling(call, x)
    integer = not x.is_floating_point()
    wide = x.float() if integer else x
    if before == after and all(2 * b <= k for b, k in zip(before, kernel, strict=True)) and not call.has_output(1):
        y = _MAX_POOL[len(kernel)](wide, kernel, strides, before, dilations)
        return y.to(x.dtype) if integer else y
    whole = pad_spatial(wide, before, after, float("-inf"))
    y, where = _MAX_POOL[len(kernel)](whole, kernel, strides, 0, dilations, return_indices=True)
    y = y.to(x.dtype)
    return (y, _to_onnx_indices(call, x, whole.shape[2:], before, where)) if call.has_output(1) else y


def _to_onnx_indices(call: Call, x: Tensor, padded_sizes: torch.Size, before: list[int], where: Tensor) -> Tensor:
    """torch counts within one padded plane; ONNX within the whole tensor, row or column major."""
    places = torch.unravel_index(where, tuple(padded_sizes))
    inside = [place - b for place, b in zip(places, before, strict=True)]
    sizes = list(x.shape[2:])
    order = range(len(sizes)) if call.get("storage_order", 0) == 0 else range(len(sizes) - 1, -1, -1)
    flat = torch.zeros_like(where)
    for axis in order:
        flat = flat * sizes[axis] + inside[axis]
    planes = torch.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(sizes))
    return flat + planes * math.prod(sizes)


def average_pool(call: Call, x: Tensor) -> Tensor:
    """The mean of each window; pads count where ``count_include_pad`` says so, a ceil-mode rest never does."""
    kernel, strides, dilations, before, after = _resolve_pooling(call, x)
    if before == after == [0] * len(kernel) and dilations == [1] * len(kernel):
        return _AVG_POOL[len(kernel)](x, kernel, strides)
    total = _sum_windows(pad_spatial(x, before, after), kernel, strides, dilations)
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    if call.get("count_include_pad", 0):
        _, _, first, last = resolve_window(call, x.shape[2:], kernel)
        rest = [a - b for a, b in zip(after, last, strict=True)]
        ones = pad_spatial(pad_spatial(ones, first, last, 1.0), [0] * len(kernel), rest)
    else:
        ones = pad_spatial(ones, before, after)
    return total / _sum_windows(ones, kernel, strides, dilations)


def _sum_windows(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    """The sum over each window, one spatial axis after the other."""
    for i, (width, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        span = dilation * (width - 1) + 1
        x = x.unfold(i + 2, span, stride)[..., ::dilation].sum(-1)
    return x


def lp_pool(call: Call, x: Tensor) -> Tensor:
    """The p-norm of each window."""
    kernel, strides, dilations, before, after = _resolve_pooling(call, x)
    p = call.get("p", 2)
    return _sum_windows(pad_spatial(x.abs() ** p, before, after), kernel, strides, dilations) ** (1 / p)


def max_unpool(call: Call, x: Tensor, where: Tensor, shape: Tensor | None = None) -> Tensor:
    """Values put back where MaxPool found them, zeros elsewhere."""
    kernel = list(call.get("kernel_shape"))
    strides = list(call.get("strides") or [1] * len(kernel))
    pads = list(call.get("pads") or [0] * (2 * len(kernel)))
    sizes = [
        (n - 1) * s + k - pads[i] - pads[i + len(kernel)]
        for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, kernel, strict=True))
    ]
    inferred = [*x.shape[:2], *sizes]
    whole = inferred if shape is None else shape.tolist()
    flat = torch.zeros(math.prod(inferred), dtype=x.dtype).scatter(0, where.reshape(-1), x.reshape(-1))
    if whole == inferred:
        return flat.reshape(whole)
    # An explicit size keeps the positions of the inferred one, in the corner.
    beyond = [w - s for w, s in zip(whole[2:], sizes, strict=True)]
    return pad_spatial(flat.reshape(inferred), [0] * len(kernel), beyond)


def global_lp_pool(call: Call, x: Tensor) -> Tensor:
    """The p-norm over all spatial axes."""
    p = call.get("p", 2)
    return (x.abs() ** p).sum(tuple(range(2, x.dim())), keepdim=True) ** (1 / p)


OPS: dict[str, OpFunction] = {
    "AveragePool": average_pool,
    "GlobalAveragePool": wrap_function(lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True)),
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": wrap_function(lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True)),
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
}
