"""Normalisations."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, to_ints
from onnxslim.recovery.ops.elementwise import take_root


def _reshape_per_channel(vector: Tensor, rank: int) -> Tensor:
    return vector.reshape(1, -1, *[1] * (rank - 2))


def batch_normalization(
    call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor | tuple[Tensor, Tensor, Tensor]:
    """By the stored statistics; by the batch's own, updating the stored, only in training mode."""
    epsilon, rank = call.get("epsilon", 1e-5), max(x.dim(), 2)
    training = bool(call.get("training_mode", 0))
    momentum = call.get("momentum", 0.9)
    running = mean, var
    if training:
        axes = tuple(i for i in range(x.dim()) if i != 1)
        mean, var = x.mean(axes), x.var(axes, correction=0)
    factor = scale * torch.rsqrt(var + epsilon)
    y = x * _reshape_per_channel(factor, rank) + _reshape_per_channel(bias - mean * factor, rank)
    if not training:
        return y
    return y, running[0] * momentum + mean * (1 - momentum), running[1] * momentum + var * (1 - momentum)


def _standardize(x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """(normalised, mean, 1 / standard deviation), computed in float32 or better as ``stash_type`` asks."""
    wide = x if x.dtype == torch.float64 else x.float()
    mean = wide.mean(axes, keepdim=True)
    inverse = torch.rsqrt(((wide - mean) ** 2).mean(axes, keepdim=True) + epsilon)
    return (wide - mean) * inverse, mean, inverse


def layer_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Zero mean and unit variance over all axes from ``axis`` on."""
    axis = call.get("axis", -1) % x.dim()
    y, mean, inverse = _standardize(x, tuple(range(axis, x.dim())), call.get("epsilon", 1e-5))
    y = y.to(x.dtype) * scale
    return y if bias is None else y + bias, mean, inverse


def rms_normalization(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """Unit mean square over all axes from ``axis`` on."""
    axes = tuple(range(call.get("axis", -1) % x.dim(), x.dim()))
    wide = x if x.dtype == torch.float64 else x.float()
    y = wide * torch.rsqrt((wide**2).mean(axes, keepdim=True) + call.get("epsilon", 1e-5))
    return y.to(x.dtype) * scale


def instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Every channel of every sample on its own."""
    y, _, _ = _standardize(x, tuple(range(2, x.dim())), call.get("epsilon", 1e-5))
    return y.to(x.dtype) * _reshape_per_channel(scale, x.dim()) + _reshape_per_channel(bias, x.dim())


def group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels together; before opset 21 scale and bias were one a group."""
    groups = call.get("num_groups")
    grouped = x.reshape(x.shape[0], groups, -1)
    y = _standardize(grouped, (2,), call.get("epsilon", 1e-5))[0].to(x.dtype)
    if call.version < 21:
        return (y * scale.reshape(1, -1, 1) + bias.reshape(1, -1, 1)).reshape(x.shape)
    return y.reshape(x.shape) * _reshape_per_channel(scale, x.dim()) + _reshape_per_channel(bias, x.dim())


def lrn(call: Call, x: Tensor) -> Tensor:
    """Local response normalisation across ``size`` neighbouring channels."""
    size = call.get("size")
    before, after = (size - 1) // 2, math.ceil((size - 1) / 2)
    flat = functional.pad((x**2).flatten(2), (0, 0, before, after)).unfold(1, size, 1).sum(-1).reshape(x.shape)
    return x / (call.get("bias", 1.0) + call.get("alpha", 1e-4) / size * flat) ** call.get("beta", 0.75)


def lp_normalization(call: Call, x: Tensor) -> Tensor:
    """Unit 1- or 2-norm along an axis; zero where the norm is."""
    norm = torch.linalg.vector_norm(x, ord=call.get("p", 2), dim=call.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / torch.where(norm == 0, torch.ones_like(norm), norm))


def mean_variance_normalization(call: Call, x: Tensor) -> Tensor:
    """(x - mean) / standard deviation over the axes."""
    axes = tuple(to_ints(call.get("axes", (0, 2, 3))))
    centered = x - x.mean(axes, keepdim=True)
    return centered / (take_root((centered**2).mean(axes, keepdim=True)) + 1e-9)


OPS: dict[str, OpFunction] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LRN": lrn,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
