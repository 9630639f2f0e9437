"""Tensors that are the teacher's but for a gain and an offset a channel.

Cross-layer equalisation and smoothing move scale from one layer to the next: outputs stay, tensors between change,
names do not. Such a tensor is compared with the teacher's as it looks in the student; every other one as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from onnxslim.recovery.distillation.losses import relative_error

#: The student's tensor counts as a rescaled teacher's if a gain explains all but so much, and this much more than none.
_MAX_RESIDUAL_ERROR, _MAX_ERROR_RATIO = 0.5, 0.25
#: Positions of a batch that a channel is compared at.
_MAX_POSITIONS = 4096


def channel_axis(rank: int) -> int:
    """Where channels are: behind the batch in images and matrices, last in sequences."""
    return 2 if rank == 3 else min(1, rank - 1)


@dataclass(frozen=True)
class ChannelAffine:
    """``factor · x + offset`` by channel; both of shape (channels,)."""

    gain: Tensor
    offset: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """The teacher's tensor as it looks in the student; unchanged where its size along the axis is another."""
        axis = channel_axis(x.dim())
        if x.shape[axis] != len(self.gain):
            return x
        shape = [1] * x.dim()
        shape[axis] = -1
        return x * self.gain.reshape(shape) + self.offset.reshape(shape)


def fit_channel_affine(student: Tensor, teacher: Tensor) -> ChannelAffine | None:
    """The least-squares gain from the teacher's to the student's tensor, or None where there is none to speak of.

    Args:
        student: The student's, :func:`sample_by_channel`.
        teacher: The teacher's, the same.
    """
    centered = teacher - teacher.mean(1, keepdim=True)
    factor = (centered * student).sum(1) / (centered**2).sum(1).clamp_min(1e-12)
    offset = student.mean(1) - factor * teacher.mean(1)
    affine = ChannelAffine(factor.float(), offset.float())
    residual_error = float(relative_error(student, teacher * factor[:, None] + offset[:, None]))
    return (
        affine
        if residual_error < _MAX_RESIDUAL_ERROR
        and residual_error < _MAX_ERROR_RATIO * float(relative_error(student, teacher))
        else None
    )


def sample_by_channel(x: Tensor) -> Tensor:
    """Float64, (channels, some thousands of evenly spread positions)."""
    flat = x.movedim(channel_axis(x.dim()), 0).flatten(1)
    return flat[:, :: max(1, flat.shape[1] // _MAX_POSITIONS)].double()
