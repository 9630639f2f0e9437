"""Convolutions, and the padding arithmetic that pooling shares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.call import Call, OpFunction

_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def resolve_window(
    call: Call, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[list[int], list[int], list[int], list[int]]:
    """(strides, dilations, pads before, pads after) along each spatial axis of the input, ``auto_pad`` resolved."""
    rank = len(sizes)
    strides = list(call.get("strides") or [1] * rank)
    dilations = list(call.get("dilations") or [1] * rank)
    mode = call.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = list(call.get("pads") or [0] * (2 * rank))
        return strides, dilations, pads[:rank], pads[rank:]
    if mode == "VALID":
        return strides, dilations, [0] * rank, [0] * rank
    total = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total.append(max(0, (outputs - 1) * stride + dilation * (width - 1) + 1 - size))
    small = [t // 2 for t in total]
    large = [t - s for t, s in zip(total, small, strict=True)]
    return (strides, dilations, small, large) if mode == "SAME_UPPER" else (strides, dilations, large, small)


def pad_spatial(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    """``x`` with its last axes padded by a constant."""
    flat = [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution over 1 to 3 spatial axes."""
    rank = x.dim() - 2
    if rank not in _CONV:
        raise UnsupportedError(f"{call.name}: Conv over {rank} spatial axes")
    strides, dilations, before, after = resolve_window(call, x.shape[2:], weight.shape[2:])
    pads: list[int] | int = before
    if before != after:
        x, pads = pad_spatial(x, before, after), 0
    return _CONV[rank](x, weight, bias, strides, pads, dilations, call.get("group", 1))


def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The gradient of a convolution with respect to its input: everything first, then the pads cut off."""
    rank = x.dim() - 2
    strides = list(call.get("strides") or [1] * rank)
    dilations = list(call.get("dilations") or [1] * rank)
    extra = list(call.get("output_padding") or [0] * rank)
    sizes = zip(x.shape[2:], weight.shape[2:], strides, dilations, extra, strict=True)
    full = [(size - 1) * stride + dilation * (width - 1) + 1 + e for size, width, stride, dilation, e in sizes]
    whole = _CONV_TRANSPOSE[rank](x, weight, None, strides, 0, 0, call.get("group", 1), dilations)
    output_ranges = _find_output_ranges(call, full, x.shape[2:], strides)
    beyond = [max(0, end - size) for size, (_, end) in zip(whole.shape[2:], output_ranges, strict=True)]
    whole = pad_spatial(whole, [0] * rank, beyond)
    for axis, (begin, end) in enumerate(output_ranges):
        whole = whole.narrow(axis + 2, begin, end - begin)
    return whole if bias is None else whole + bias.reshape(-1, *[1] * rank)


def _find_output_ranges(call: Call, full: list[int], sizes: Sequence[int], strides: list[int]) -> list[tuple[int, int]]:
    """Which part of each axis of the whole output is kept; it may reach beyond, into zeros."""
    rank = len(full)
    mode, shape = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if mode in ("NOTSET", "VALID") and not shape:
        pads = list(call.get("pads") or [0] * (2 * rank))
        return [(pads[i], full[i] - pads[i + rank]) for i in range(rank)]
    output_sizes = list(shape)[-rank:] if shape else [n * s for n, s in zip(sizes, strides, strict=True)]
    total = [max(0, f - w) for f, w in zip(full, output_sizes, strict=True)]
    before = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
    return [(b, b + w) for b, w in zip(before, output_sizes, strict=True)]


def conv_integer(
    call: Call, x: Tensor, weight: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    """Convolution of integers, computed in float64, which holds every sum exactly."""
    xf = x.double() - (0.0 if x_zero is None else x_zero.double())
    zero = 0.0 if w_zero is None else w_zero.double().reshape(-1, *[1] * (weight.dim() - 1))
    return conv(call, xf, weight.double() - zero).to(torch.int32)


def col2im(call: Call, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    """Columns added back into an image, over two spatial axes."""
    rank = len(block)
    if rank != 2:
        raise UnsupportedError(f"{call.name}: Col2Im over {rank} spatial axes")
    sizes, kernel = image.tolist(), (int(block[0]), int(block[1]))
    pads = list(call.get("pads") or [0] * 4)
    whole = (sizes[0] + pads[0] + pads[2], sizes[1] + pads[1] + pads[3])
    strides, dilations = tuple(call.get("strides") or (1, 1)), tuple(call.get("dilations") or (1, 1))
    folded = functional.fold(x, whole, kernel, dilation=dilations, stride=strides)
    return folded[:, :, pads[0] : pads[0] + sizes[0], pads[1] : pads[1] + sizes[1]]


OPS: dict[str, OpFunction] = {"Col2Im": col2im, "Conv": conv, "ConvInteger": conv_integer, "ConvTranspose": conv_transpose}
