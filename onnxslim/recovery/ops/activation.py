"""Activations, softmax and dropout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function


def leaky_relu(call: Call, x: Tensor) -> Tensor:
    """x, or alpha · x below zero."""
    return functional.leaky_relu(x, call.get("alpha", 0.01))


def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """x, or slope · x below zero."""
    return torch.where(x >= 0, x, slope * x)


def elu(call: Call, x: Tensor) -> Tensor:
    """x, or alpha · (eˣ - 1) below zero."""
    return functional.elu(x, call.get("alpha", 1.0))


def selu(call: Call, x: Tensor) -> Tensor:
    """Scaled ELU (Klambauer et al. 2017)."""
    alpha, gamma = call.get("alpha", 1.6732632423543772), call.get("gamma", 1.0507009873554805)
    return gamma * functional.elu(x, alpha)


def celu(call: Call, x: Tensor) -> Tensor:
    """Continuously differentiable ELU."""
    return functional.celu(x, call.get("alpha", 1.0))


def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """x above alpha, else 0."""
    return functional.threshold(x, call.get("alpha", 1.0), 0.0)


def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """max(0, min(1, alpha · x + beta))."""
    return torch.clamp(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0, 1)


def hard_swish(x: Tensor) -> Tensor:
    """x · max(0, min(1, x / 6 + ½))."""
    return x * torch.clamp(x / 6 + 0.5, 0, 1)


def swish(call: Call, x: Tensor) -> Tensor:
    """x · σ(alpha · x)."""
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


def swiglu(call: Call, gate: Tensor, x: Tensor) -> Tensor:
    """gate · σ(alpha · gate) · x."""
    return swish(call, gate) * x


def gelu(call: Call, x: Tensor) -> Tensor:
    """x · Φ(x), exact or by tanh."""
    return functional.gelu(x, approximate=call.get("approximate", "none"))


def shrink(call: Call, x: Tensor) -> Tensor:
    """Zero within ±lambd, moved by bias outside."""
    lambd, bias = call.get("lambd", 0.5), call.get("bias", 0.0)
    lowered = torch.where(x > lambd, x - bias, torch.zeros_like(x))
    return torch.where(x < -lambd, x + bias, lowered).to(x.dtype)


def dropout(call: Call, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x: a compressed model is tuned as it is served, so nothing is dropped."""
    if training is not None and bool(training) and (ratio is None or float(ratio)):
        raise UnsupportedError(f"{call.name}: Dropout in training mode is random")
    return x, torch.ones_like(x, dtype=torch.bool)


def _flatten_from_axis(call: Call, x: Tensor) -> tuple[Tensor, int]:
    """Before opset 13 softmax ran over all axes from ``axis`` on, as one."""
    if call.version >= 13:
        return x, call.get("axis", -1)
    axis = call.get("axis", 1) % max(x.dim(), 1)
    return x.flatten(axis), axis


def softmax(call: Call, x: Tensor) -> Tensor:
    """Shares that add up to 1 along the axis."""
    flat, axis = _flatten_from_axis(call, x)
    return torch.softmax(flat, axis).reshape(x.shape)


def log_softmax(call: Call, x: Tensor) -> Tensor:
    """Logarithms of the softmax."""
    flat, axis = _flatten_from_axis(call, x)
    return torch.log_softmax(flat, axis).reshape(x.shape)


def hardmax(call: Call, x: Tensor) -> Tensor:
    """1 at the first largest, 0 elsewhere."""
    flat, axis = _flatten_from_axis(call, x)
    return torch.zeros_like(flat).scatter(axis, flat.argmax(axis, keepdim=True), 1).reshape(x.shape)


OPS: dict[str, OpFunction] = {
    "Celu": celu,
    "Dropout": dropout,
    "Elu": elu,
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": wrap_function(hard_swish),
    "Hardmax": hardmax,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": log_softmax,
    "Mish": wrap_function(functional.mish),
    "PRelu": prelu,
    "Relu": wrap_function(torch.relu),
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": wrap_function(torch.sigmoid),
    "Softmax": softmax,
    "Softplus": wrap_function(lambda x: functional.softplus(x, threshold=1e9)),
    "Softsign": wrap_function(functional.softsign),
    "SwiGLU": swiglu,
    "Swish": swish,
    "ThresholdedRelu": thresholded_relu,
}
