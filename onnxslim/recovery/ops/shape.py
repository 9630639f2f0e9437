"""The same elements under another shape, and tensors made from a shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onnxslim.recovery.ops.call import Call, OpFunction, resolve_axes, to_ints, wrap_function


def reshape(call: Call, x: Tensor, shape: Tensor | None = None) -> Tensor:
    """0 copies a size, unless ``allowzero``; -1 takes what is left."""
    sizes = to_ints(shape if shape is not None else call.get("shape"))
    if not call.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def flatten(call: Call, x: Tensor) -> Tensor:
    """A matrix, cut before ``axis``."""
    axis = call.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without the axes of size 1 that are named, or without any."""
    squeezed = resolve_axes(call, axes, x.dim()) or [i for i, size in enumerate(x.shape) if size == 1]
    return x.reshape([size for i, size in enumerate(x.shape) if i not in squeezed])


def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """New axes of size 1, counted in the result."""
    given = to_ints(axes if axes is not None else call.get("axes"))
    rank = x.dim() + len(given)
    for axis in sorted(a % rank for a in given):
        x = x.unsqueeze(axis)
    return x


def transpose(call: Call, x: Tensor) -> Tensor:
    """Axes in another order, reversed by default."""
    return x.permute(call.get("perm") or tuple(reversed(range(x.dim()))))


def expand(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast both ways: a 1 in ``shape`` keeps the input's size."""
    return x.expand(torch.broadcast_shapes(x.shape, tuple(to_ints(shape))))


def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Cut into given lengths, or into as many equal ones as there are outputs, the last smaller."""
    axis = call.get("axis", 0)
    lengths = to_ints(sizes if sizes is not None else call.get("split"))
    if not lengths:
        count = call.get("num_outputs", len(call.node.outputs))
        length = -(-x.shape[axis] // count)
        lengths = [max(0, min(length, x.shape[axis] - i * length)) for i in range(count)]
    return tuple(torch.split(x, lengths, axis))


def shape(call: Call, x: Tensor) -> Tensor:
    """The sizes, or a slice of them."""
    return torch.tensor(x.shape[slice(call.get("start", 0), call.get("end"))], dtype=torch.int64)


def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Channels to blocks of pixels."""
    n, c, h, w = x.shape
    b = call.get("blocksize")
    if call.get("mode", "DCR") == "DCR":
        blocks = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // b**2, h * b, w * b)


def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Blocks of pixels to channels."""
    n, c, h, w = x.shape
    b = call.get("blocksize")
    blocks = x.reshape(n, c, h // b, b, w // b, b)
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return blocks.permute(order).reshape(n, c * b**2, h // b, w // b)


def constant(call: Call) -> Tensor:
    """The node's own tensor."""
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if name in call.attributes:
            return torch.tensor(call.get(name), dtype=torch.float32 if "float" in name else torch.int64)
    return call.get("value")


def constant_of_shape(call: Call, sizes: Tensor) -> Tensor:
    """One value everywhere, 0.0 by default."""
    return call.get("value", torch.zeros(1)).reshape(()).expand(to_ints(sizes)).clone()


def arange(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, … below the limit."""
    count = max(math.ceil((limit - start).item() / delta.item()), 0)
    return (start + delta * torch.arange(count, dtype=start.dtype)).to(start.dtype)


def trilu(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or lower triangle, zeros elsewhere."""
    offset = 0 if k is None else int(k)
    return torch.triu(x, offset) if call.get("upper", 1) else torch.tril(x, offset)


def center_crop_pad(call: Call, x: Tensor, sizes: Tensor) -> Tensor:
    """Every axis cut or padded around its centre."""
    axes = resolve_axes(call, None, x.dim()) or list(range(x.dim()))
    for axis, target_size in zip(axes, to_ints(sizes), strict=True):
        have = x.shape[axis]
        if have >= target_size:
            x = x.narrow(axis, (have - target_size) // 2, target_size)
            continue
        whole = torch.zeros([target_size if a == axis else n for a, n in enumerate(x.shape)], dtype=x.dtype)
        begin = (target_size - have) // 2
        x = torch.slice_scatter(whole, x, axis, begin, begin + have)
    return x


OPS: dict[str, OpFunction] = {
    "CenterCropPad": center_crop_pad,
    "Concat": lambda call, *parts: torch.cat(parts, call.get("axis", 1)),
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Range": arange,
    "Reshape": reshape,
    "Shape": shape,
    "Size": wrap_function(lambda x: torch.tensor(x.numel(), dtype=torch.int64)),
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": wrap_function(lambda x, repeats: x.repeat(to_ints(repeats))),
    "Transpose": transpose,
    "Trilu": trilu,
    "Unsqueeze": unsqueeze,
}
