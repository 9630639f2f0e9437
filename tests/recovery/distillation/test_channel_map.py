"""Tensors that are the teacher's but for a gain and an offset, or for channels that went."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="recover needs torch")

import numpy as np
import torch

from onnxslim.recovery.distillation.channel_map import (
    ChannelMap,
    channel_axis,
    find_axis,
    fit_channel_map,
    match_channels,
    sample_by_channel,
)


def fit(student: torch.Tensor, teacher: torch.Tensor) -> ChannelMap | None:
    axis = find_axis(student, teacher)
    return None if axis is None else fit_channel_map(axis, *([sample_by_channel(t, axis)] for t in (student, teacher)))


@pytest.mark.parametrize("shape", [(16, 5, 6, 6), (64, 5), (8, 9, 5)])
def test_a_tensor_rescaled_by_channel_is_recognised_and_a_damaged_one_is_not(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(shape)
    axes = [1] * len(shape)
    axes[channel_axis(len(shape))] = 5
    student = teacher * torch.tensor([0.2, 1.0, 5.0, 3.0, 0.5]).reshape(axes) + 0.3
    found = fit(student, teacher)
    assert found is not None
    torch.testing.assert_close(found.apply(teacher), student, rtol=1e-4, atol=1e-4)
    damaged = teacher + 0.5 * torch.randn(shape)
    found = fit(damaged, teacher)
    assert found is not None
    assert found.is_identity
    assert fit(torch.randn(shape) * 2, teacher) is None


@pytest.mark.parametrize(("shape", "axis"), [((16, 12, 6, 6), 1), ((64, 12), 1), ((8, 9, 12), 2), ((4, 6, 5, 12), 3)])
def test_channels_that_were_kept_are_found_whatever_became_of_them(shape: tuple[int, ...], axis: int) -> None:
    torch.manual_seed(0)
    teacher = torch.randn(shape)
    kept = torch.tensor([0, 3, 4, 7, 8, 11])
    student = teacher.index_select(axis, kept)
    found = fit(student, teacher)
    assert found is not None
    assert found.gain is None
    torch.testing.assert_close(found.apply(teacher), student)
    found = fit(student + 0.3 * torch.randn(student.shape), teacher)
    assert found is not None
    assert found.kept is not None
    assert found.kept.tolist() == kept.tolist()
    found = fit(3 * student - 1, teacher)
    assert found is not None
    torch.testing.assert_close(found.apply(teacher), 3 * student - 1, rtol=1e-4, atol=1e-4)


def test_of_any_choice_of_channels_that_one_is_found() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(2, 40))
        teacher = rng.standard_normal((count, 60))
        kept = np.sort(rng.choice(count, int(rng.integers(1, count)), replace=False))
        student = teacher[kept] + 0.2 * rng.standard_normal((len(kept), 60))
        np.testing.assert_array_equal(match_channels(student, teacher), kept)


def test_channels_that_never_change_are_matched_with_their_like() -> None:
    teacher = np.random.default_rng(0).standard_normal((5, 40))
    teacher[[1, 3]] = 2.0
    assert match_channels(teacher[[0, 3, 4]], teacher).tolist()[::2] == [0, 4]
    assert match_channels(np.zeros((2, 40)), teacher).tolist() == [1, 3]


def test_shapes_that_tell_no_axis_are_refused() -> None:
    assert find_axis(torch.zeros(2, 3, 4), torch.zeros(2, 3)) is None
    assert find_axis(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 6, 4)) is None
    assert find_axis(torch.zeros(2, 5), torch.zeros(2, 3)) is None
    assert find_axis(torch.zeros(2, 2, 4, 4), torch.zeros(2, 5, 4, 4)) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("of", ["student", "teacher"])
def test_values_that_are_no_numbers_have_no_counterpart(bad: float, of: str) -> None:
    teacher = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    student = teacher[[0, 2, 5]].clone()
    (student if of == "student" else teacher)[1, 3] = bad
    assert fit(student, teacher) is None


def test_channels_without_a_batch_have_one_position() -> None:
    channels = torch.randn(6)
    assert torch.equal(sample_by_channel(channels), channels[:, None].double())
    found = fit(channels.clone(), channels)
    assert found is not None
    assert found.is_identity
