"""Arithmetic, element by element, with numpy's broadcasting."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recover.ops.call import Call, Op, plain


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
    least = None if low is None or not low.numel() else low.item()
    most = None if high is None or not high.numel() else high.item()
    if least is None and most is None:
        return x
    if least is not None and most is not None and least <= most and x.is_floating_point():
        return functional.hardtanh(
            x, least, most
        )  # the same, with a gradient that is one pass instead of four
    return torch.clamp(x, least, most)


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


def rounded(x: Tensor) -> Tensor:
    """To the nearest integer, halves to even; the gradient passes as if nothing had happened."""
    return x + (torch.round(x) - x).detach() if x.requires_grad else torch.round(x)


OPS: dict[str, Op] = {
    "Abs": plain(torch.abs),
    "Acos": plain(torch.acos),
    "Acosh": plain(torch.acosh),
    "Add": add,
    "Asin": plain(torch.asin),
    "Asinh": plain(torch.asinh),
    "Atan": plain(torch.atan),
    "Atanh": plain(torch.atanh),
    "Ceil": plain(torch.ceil),
    "Clip": clip,
    "Cos": plain(torch.cos),
    "Cosh": plain(torch.cosh),
    "Div": div,
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Identity": plain(lambda x: x),
    "IsInf": is_inf,
    "IsNaN": plain(torch.isnan),
    "Log": plain(torch.log),
    "Max": plain(lambda *terms: reduce(torch.maximum, terms)),
    "Mean": mean,
    "Min": plain(lambda *terms: reduce(torch.minimum, terms)),
    "Mod": mod,
    "Mul": mul,
    "Neg": plain(torch.neg),
    "Pow": power,
    "Reciprocal": plain(torch.reciprocal),
    "Round": plain(rounded),
    "Sign": plain(sign),
    "Sin": plain(torch.sin),
    "Sinh": plain(torch.sinh),
    "Sqrt": plain(torch.sqrt),
    "Sub": sub,
    "Sum": plain(lambda *terms: reduce(torch.add, terms)),
    "Tan": plain(torch.tan),
    "Tanh": plain(torch.tanh),
}
