"""What ONNX's cases do not ask of arithmetic: gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.recovery.ops.elementwise import power, take_root


@pytest.mark.parametrize(
    "root", [take_root, lambda x: power(x, torch.tensor(0.5)), lambda x: power(x, torch.tensor([0.5] * 3))]
)
def test_a_root_of_zero_has_a_gradient_of_zero_and_all_others_their_own(
    root: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """The length of a complex number that int8 rounded to nothing: d√(r²) / dr is ∞ · 0 there."""
    r = torch.tensor([0.0, 2.0, -3.0], requires_grad=True)
    y = root(r * r)
    y.sum().backward()
    assert torch.equal(y.detach(), torch.tensor([0.0, 2.0, 3.0]))
    assert torch.equal(r.grad, torch.tensor([0.0, 1.0, -1.0]))


def test_powers_keep_what_zero_does_to_them() -> None:
    base = torch.tensor([0.0, 0.0, 4.0], requires_grad=True)
    y = power(base, torch.tensor([0.0, 2.0, -0.5]))
    y.sum().backward()
    assert torch.equal(y.detach(), torch.tensor([1.0, 0.0, 0.5]))
    assert torch.isfinite(base.grad).all()
    assert torch.isnan(take_root(torch.tensor([-1.0], requires_grad=True))).all()
