"""Arithmetic, element by element, with numpy's broadcasting."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function


def broadcast(call: Call, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Opset 6 and older aligned ``b`` with ``a`` from ``axis`` instead of from the right."""
    if call.version < 7 and call.get("broadcast") and b.dim():
        axis = call.get("axis", a.dim() - b.dim())
        b = b.reshape(b.shape + (1,) * (a.dim() - axis - b.dim()))
    return a, b


def add(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a + b."""
    a, b = broadcast(call, a, b)
    return a + b


def sub(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a - b."""
    a, b = broadcast(call, a, b)
    return a - b


def mul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a · b."""
    a, b = broadcast(call, a, b)
    return a * b


def div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """a / b; integers round towards zero."""
    a, b = broadcast(call, a, b)
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def power(call: Call, base: Tensor, exponent: Tensor) -> Tensor:
    """base ** exponent, in the base's type."""
    base, exponent = broadcast(call, base, exponent)
    if not base.is_floating_point() and exponent.is_floating_point():
        return torch.pow(base.double(), exponent.double()).to(base.dtype)
    return torch.pow(base, exponent).to(base.dtype)


def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The remainder with the divisor's sign, or the dividend's where ``fmod`` says so."""
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """x between two bounds; ``high`` wins where they cross."""
    if call.version < 11:
        return torch.clamp(x, call.get("min"), call.get("max")) if call.attributes else x
    low_bound = None if low is None or not low.numel() else low.item()
    high_bound = None if high is None or not high.numel() else high.item()
    if low_bound is None and high_bound is None:
        return x
    if low_bound is not None and high_bound is not None and low_bound <= high_bound and x.is_floating_point():
        return functional.hardtanh(x, low_bound, high_bound)  # the same, with a gradient that is one pass instead of four
    return torch.clamp(x, low_bound, high_bound)


def is_inf(call: Call, x: Tensor) -> Tensor:
    """Which elements are infinite, of the signs asked for."""
    positive, negative = call.get("detect_positive", 1), call.get("detect_negative", 1)
    return (torch.isposinf(x) & bool(positive)) | (torch.isneginf(x) & bool(negative))


def mean(call: Call, *terms: Tensor) -> Tensor:
    """The average of all inputs."""
    return reduce(torch.add, terms) / len(terms)


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return torch.sign(x)


def round_straight_through(x: Tensor) -> Tensor:
    """To the nearest integer, halves to even; the gradient passes as if nothing had happened."""
    return x + (torch.round(x) - x).detach() if x.requires_grad else torch.round(x)


OPS: dict[str, OpFunction] = {
    "Abs": wrap_function(torch.abs),
    "Acos": wrap_function(torch.acos),
    "Acosh": wrap_function(torch.acosh),
    "Add": add,
    "Asin": wrap_function(torch.asin),
    "Asinh": wrap_function(torch.asinh),
    "Atan": wrap_function(torch.atan),
    "Atanh": wrap_function(torch.atanh),
    "Ceil": wrap_function(torch.ceil),
    "Clip": clip,
    "Cos": wrap_function(torch.cos),
    "Cosh": wrap_function(torch.cosh),
    "Div": div,
    "Erf": wrap_function(torch.erf),
    "Exp": wrap_function(torch.exp),
    "Floor": wrap_function(torch.floor),
    "Identity": wrap_function(lambda x: x),
    "IsInf": is_inf,
    "IsNaN": wrap_function(torch.isnan),
    "Log": wrap_function(torch.log),
    "Max": wrap_function(lambda *terms: reduce(torch.maximum, terms)),
    "Mean": mean,
    "Min": wrap_function(lambda *terms: reduce(torch.minimum, terms)),
    "Mod": mod,
    "Mul": mul,
    "Neg": wrap_function(torch.neg),
    "Pow": power,
    "Reciprocal": wrap_function(torch.reciprocal),
    "Round": wrap_function(round_straight_through),
    "Sign": wrap_function(sign),
    "Sin": wrap_function(torch.sin),
    "Sinh": wrap_function(torch.sinh),
    "Sqrt": wrap_function(torch.sqrt),
    "Sub": sub,
    "Sum": wrap_function(lambda *terms: reduce(torch.add, terms)),
    "Tan": wrap_function(torch.tan),
    "Tanh": wrap_function(torch.tanh),
}
