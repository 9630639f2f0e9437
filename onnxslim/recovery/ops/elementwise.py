"""Arithmetic, element by element, with numpy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from onnxslim.recovery.ops.call import Call, OpFunction, wrap_function


def _broadcast(call: Call, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Opset 6 and older aligned ``b`` with ``a`` from ``axis`` instead of from the right."""
    if call.version < 7 and call.get("broadcast") and b.dim():
        axis = call.get("axis", a.dim() - b.dim())
        b = b.reshape(b.shape + (1,) * (a.dim() - axis - b.dim()))
    return a, b


def wrap_broadcast(function: Callable[[Tensor, Tensor], Tensor]) -> OpFunction:
    """An operator that needs nothing but its two inputs."""
    return lambda call, a, b: function(*_broadcast(call, a, b))


def div(a: Tensor, b: Tensor) -> Tensor:
    """a / b; integers round towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def take_root(x: Tensor) -> Tensor:
    """√x. Where x is 0 its gradient would be infinite, and what that is multiplied by on the way down mostly 0: int8 puts
    exact zeros where floats had none (silent bins of a spectrum), and one of them would end a training. It counts as 0.
    """
    if not x.requires_grad:
        return torch.sqrt(x)
    is_zero = x == 0
    return torch.sqrt(x.masked_fill(is_zero, 1.0)).masked_fill(is_zero, 0.0)


def power(base: Tensor, exponent: Tensor) -> Tensor:
    """base ** exponent, in the base's type; of roots the gradient of :func:`take_root`."""
    if not base.is_floating_point() and exponent.is_floating_point():
        return torch.pow(base.double(), exponent.double()).to(base.dtype)
    if base.requires_grad and bool(((exponent > 0) & (exponent < 1)).any()):
        is_steep = (base == 0) & (exponent > 0) & (exponent < 1)
        base = torch.where(is_steep, 1.0, base)
        return torch.pow(base, exponent).masked_fill(is_steep, 0.0).to(base.dtype)
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


def round_straight_through(x: Tensor) -> Tensor:
    """To the nearest integer, halves to even; the gradient passes as if nothing had happened."""
    return x + (torch.round(x) - x).detach() if x.requires_grad else torch.round(x)


#: torch has these under the same names.
_TORCH_NAMES = "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor Log Neg Reciprocal Sign Sin Sinh Tan Tanh"

OPS: dict[str, OpFunction] = {
    **{name: wrap_function(getattr(torch, name.lower())) for name in _TORCH_NAMES.split()},
    "Add": wrap_broadcast(torch.add),
    "Clip": clip,
    "Div": wrap_broadcast(div),
    "Identity": wrap_function(lambda x: x),
    "IsInf": is_inf,
    "IsNaN": wrap_function(torch.isnan),
    "Max": wrap_function(lambda *terms: reduce(torch.maximum, terms)),
    "Mean": wrap_function(lambda *terms: reduce(torch.add, terms) / len(terms)),
    "Min": wrap_function(lambda *terms: reduce(torch.minimum, terms)),
    "Mod": mod,
    "Mul": wrap_broadcast(torch.mul),
    "Pow": wrap_broadcast(power),
    "Round": wrap_function(round_straight_through),
    "Sqrt": wrap_function(take_root),
    "Sub": wrap_broadcast(torch.sub),
    "Sum": wrap_function(lambda *terms: reduce(torch.add, terms)),
}
