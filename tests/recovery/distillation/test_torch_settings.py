"""Products are computed in float32 while a student learns, whatever the processor, and torch is as it was afterwards."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from onnxslim.recovery.distillation import torch_settings  # noqa: E402 - torch is optional


def test_products_keep_what_a_float32_holds_on_every_processor() -> None:
    left, right = torch.randn(2, 192, 192, generator=torch.Generator().manual_seed(1))
    exact = left.double() @ right.double()
    with torch_settings.configure_torch():
        error = (left @ right - exact).norm() / exact.norm()
    assert error < 1e-5


def test_what_rounds_is_not_taken_and_torch_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    for exactly, expected in ((True, "medium"), (False, "highest")):
        monkeypatch.setattr(torch_settings, "_multiplies_in_float32", lambda exactly=exactly: exactly)
        with torch_settings.configure_torch():
            assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (1, expected)
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
