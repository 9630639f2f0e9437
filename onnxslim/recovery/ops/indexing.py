"""Elements picked, placed and padded."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, resolve_axes, to_ints, wrap_function
from onnxslim.recovery.tensor_conversion import to_torch_dtype


def slice_(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """Python's slices along some axes; steps may be negative."""
    first = to_ints(starts if starts is not None else call.get("starts"))
    last = to_ints(ends if ends is not None else call.get("ends"))
    sliced_axes = resolve_axes(call, axes, x.dim()) or list(range(len(first)))
    strides = to_ints(steps) or [1] * len(first)
    for axis, begin, end, step in zip(sliced_axes, first, last, strides, strict=True):
        if step > 0:
            lo, hi, _ = slice(begin, end, step).indices(x.shape[axis])
            x = x[(slice(None),) * axis + (slice(lo, max(hi, lo), step),)]
        else:
            chosen = list(range(*slice(begin, end, step).indices(x.shape[axis])))
            x = x.index_select(axis, torch.tensor(chosen, dtype=torch.int64))
    return x


def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Rows along an axis; negative indices count from the end."""
    axis = call.get("axis", 0) % x.dim()
    chosen = _normalize_indices(indices, x.shape[axis])
    picked = x.index_select(axis, chosen.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _normalize_indices(indices: Tensor, size: int) -> Tensor:
    wide = indices.long()
    return torch.where(wide < 0, wide + size, wide)


def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """One element for every index."""
    axis = call.get("axis", 0)
    return torch.gather(x, axis, _normalize_indices(indices, x.shape[axis]))


def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Slices by index tuples, behind ``batch_dims`` shared axes."""
    shared = call.get("batch_dims", 0)
    flat = x.reshape(-1, *x.shape[shared:])
    tuples = indices.long().reshape(flat.shape[0], -1, indices.shape[-1])
    batch = torch.arange(flat.shape[0]).unsqueeze(1).expand(tuples.shape[:2])
    picked = flat[(batch, *tuples.unbind(-1))]
    return picked.reshape([*indices.shape[:-1], *x.shape[shared + indices.shape[-1] :]])


_TORCH_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """One update for every index, put there or combined with what is there."""
    axis, reduction = call.get("axis", 0), call.get("reduction", "none")
    where = _normalize_indices(indices, x.shape[axis])
    if reduction == "none":
        return x.scatter(axis, where, updates)
    return x.scatter_reduce(axis, where, updates, _TORCH_REDUCTIONS[reduction])


def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Slices put, by index tuples, or combined with what is there."""
    depth, reduction = indices.shape[-1], call.get("reduction", "none")
    lead = x.shape[:depth]
    flat = x.reshape(-1, *x.shape[depth:])
    row = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for place, size in zip(indices.unbind(-1), lead, strict=True):
        row = row * size + _normalize_indices(place, size)
    rows, values = row.reshape(-1), updates.reshape(-1, *x.shape[depth:])
    if reduction == "none":
        return flat.index_copy(0, rows, values).reshape(x.shape)
    if reduction == "add":
        return flat.index_add(0, rows, values).reshape(x.shape)
    place = rows.reshape(-1, *[1] * (values.dim() - 1)).expand(values.shape)
    return flat.scatter_reduce(0, place, values, _TORCH_REDUCTIONS[reduction]).reshape(x.shape)


def tensor_scatter(call: Call, cache: Tensor, update: Tensor, start: Tensor | None = None) -> Tensor:
    """A cache with new entries written from each sample's position on."""
    axis = call.get("axis", -2) % cache.dim()
    begin = torch.zeros(cache.shape[0], dtype=torch.int64) if start is None else start
    offsets = torch.arange(update.shape[axis])
    rows = []
    for sample, first in enumerate(begin.tolist()):
        where = (offsets + first) % cache.shape[axis] if call.get("mode", "linear") == "circular" else offsets + first
        rows.append(cache[sample].index_copy(axis - 1, where, update[sample]))
    return torch.stack(rows)


def pad(
    call: Call, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    """More (or, where negative, fewer) elements at either end of axes: a constant, an edge, a mirror or a torus."""
    amounts = to_ints(pads if pads is not None else call.get("pads"))
    padded_axes = resolve_axes(call, axes, x.dim()) or list(range(x.dim()))
    mode = call.get("mode", "constant")
    fill = call.get("value", 0.0) if value is None else value.reshape(()).item()
    if mode == "constant":
        flat = [0] * (2 * x.dim())
        for i, axis in enumerate(padded_axes):
            place = 2 * (x.dim() - 1 - axis)
            flat[place : place + 2] = [amounts[i], amounts[i + len(padded_axes)]]
        return functional.pad(x, flat, value=fill) if any(flat) else x
    for i, axis in enumerate(padded_axes):
        before, after, size = amounts[i], amounts[i + len(padded_axes)], x.shape[axis]
        where = torch.arange(-before, size + after)
        if mode == "edge":
            where = where.clamp(0, size - 1)
        elif mode == "wrap":
            where = where % size
        else:
            period = max(2 * (size - 1), 1)
            where = (where % period + period) % period
            where = torch.where(where >= size, period - where, where)
        x = x.index_select(axis, where)
    return x


def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """values[1] where the index points, values[0] elsewhere and for indices out of range."""
    count = int(depth)
    axis = call.get("axis", -1) % (indices.dim() + 1)
    hot = _normalize_indices(indices, count).unsqueeze(axis)
    shape = [1] * (indices.dim() + 1)
    shape[axis] = count
    return torch.where(hot == torch.arange(count).reshape(shape), values[1], values[0])


def compress(call: Call, x: Tensor, condition: Tensor) -> Tensor:
    """The slices where the condition holds."""
    axis = call.get("axis")
    flat, along = (x.reshape(-1), 0) if axis is None else (x, axis)
    return flat.index_select(along, torch.nonzero(condition).reshape(-1))


def reverse_sequence(call: Call, x: Tensor, lengths: Tensor) -> Tensor:
    """The first ``lengths[i]`` steps of sample i backwards."""
    batch, time = call.get("batch_axis", 1), call.get("time_axis", 0)
    steps = torch.arange(x.shape[time])
    rows = []
    for sample, length in zip(x.unbind(batch), lengths.tolist(), strict=True):
        where = torch.where(steps < length, length - 1 - steps, steps)
        rows.append(sample.index_select(time if time < batch else time - 1, where))
    return torch.stack(rows, batch)


def unique(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(values, their first positions, where each element went, counts), sorted or by first appearance."""
    axis = call.get("axis")
    source = x.reshape(-1) if axis is None else x
    along = 0 if axis is None else axis % x.dim()
    values, inverse, counts = torch.unique(source, return_inverse=True, return_counts=True, dim=along)
    size = source.shape[along]
    first = torch.full((len(counts),), size).scatter_reduce(0, inverse.reshape(-1), torch.arange(size), "amin")
    if not call.get("sorted", 1):
        order = torch.argsort(first)
        values, counts, first = values.index_select(along, order), counts[order], first[order]
        inverse = torch.argsort(order)[inverse.reshape(-1)]
    return values, first, inverse.reshape(-1), counts


def eye_like(call: Call, x: Tensor) -> Tensor:
    """Ones on a diagonal of a matrix shaped like the input."""
    offset, to = call.get("k", 0), call.get("dtype")
    ones = torch.ones(x.shape, dtype=to_torch_dtype(ir.DataType(to), call.name) if to else x.dtype)
    return torch.triu(torch.tril(ones, offset), offset)


def array_feature_extractor(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    """Columns of the last axis (ai.onnx.ml); a vector counts as one row."""
    return torch.atleast_2d(x).index_select(-1, indices.reshape(-1))


OPS: dict[str, OpFunction] = {
    "Compress": compress,
    "EyeLike": eye_like,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonZero": wrap_function(lambda x: torch.nonzero(x).T),
    "OneHot": one_hot,
    "Pad": pad,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Slice": slice_,
    "TensorScatter": tensor_scatter,
    "Unique": unique,
}
