"""Tensors that are the teacher's but for a gain and an offset."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.recovery.distillation.channel_affine import channel_axis, fit_channel_affine, sample_by_channel


@pytest.mark.parametrize("shape", [(16, 5, 6, 6), (64, 5), (8, 9, 5)])
def test_a_tensor_rescaled_by_channel_is_recognised_and_a_damaged_one_is_not(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(shape)
    axes = [1] * len(shape)
    axes[channel_axis(len(shape))] = 5
    student = teacher * torch.tensor([0.2, 1.0, 5.0, 3.0, 0.5]).reshape(axes) + 0.3
    found = fit_channel_affine(sample_by_channel(student), sample_by_channel(teacher))
    assert found is not None
    torch.testing.assert_close(found.apply(teacher), student, rtol=1e-4, atol=1e-4)
    damaged = teacher + 0.5 * torch.randn(shape)
    assert fit_channel_affine(sample_by_channel(damaged), sample_by_channel(teacher)) is None
