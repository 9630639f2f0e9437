"""Activations, softmax and dropout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function


def selu(call: Call, x: Tensor) -> Tensor:
    """Scaled ELU (Klambauer et al. 2017)."""
    alpha, gamma = call.get("alpha", 1.6732632423543772), call.get("gamma", 1.0507009873554805)
    return gamma * functional.elu(x, alpha)


def swish(call: Call, x: Tensor) -> Tensor:
    """x · σ(alpha · x)."""
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


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


def _make_softmax(function: Callable[[Tensor, int], Tensor]) -> OpFunction:
    def run(call: Call, x: Tensor) -> Tensor:
        if call.version >= 13:
            return function(x, call.get("axis", -1))
        axis = call.get("axis", 1) % max(x.dim(), 1)  # all axes from here on, as one
        return function(x.flatten(axis), axis).reshape(x.shape)

    return run


def hardmax(x: Tensor, axis: int) -> Tensor:
    """1 at the first largest, 0 elsewhere."""
    return torch.zeros_like(x).scatter(axis, x.argmax(axis, keepdim=True), 1)


OPS: dict[str, OpFunction] = {
    "Celu": lambda call, x: functional.celu(x, call.get("alpha", 1.0)),
    "Dropout": dropout,
    "Elu": lambda call, x: functional.elu(x, call.get("alpha", 1.0)),
    "Gelu": lambda call, x: functional.gelu(x, approximate=call.get("approximate", "none")),
    "HardSigmoid": lambda call, x: torch.clamp(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0, 1),
    "HardSwish": wrap_function(lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1)),
    "Hardmax": _make_softmax(hardmax),
    "LeakyRelu": lambda call, x: functional.leaky_relu(x, call.get("alpha", 0.01)),
    "LogSoftmax": _make_softmax(torch.log_softmax),
    "Mish": wrap_function(functional.mish),
    "PRelu": wrap_function(lambda x, slope: torch.where(x >= 0, x, slope * x)),
    "Relu": wrap_function(torch.relu),
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": wrap_function(torch.sigmoid),
    "Softmax": _make_softmax(torch.softmax),
    "Softplus": wrap_function(lambda x: functional.softplus(x, threshold=1e9)),
    "Softsign": wrap_function(functional.softsign),
    "SwiGLU": lambda call, gate, x: swish(call, gate) * x,
    "Swish": swish,
    "ThresholdedRelu": lambda call, x: functional.threshold(x, call.get("alpha", 1.0), 0.0),
}
