"""Tensors that are the teacher's but for a gain and an offset a channel.

Cross-layer equalisation and smoothing move scale from one layer to the next: outputs stay, tensors between change,
names do not. Such a tensor is compared with the teacher's as it looks in the student; every other one as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from onnxslim.recover.losses import relative_error

#: The student's tensor counts as a rescaled teacher's if a gain explains all but so much, and this much more than none.
_LEFT, _LESS = 0.5, 0.25


def channel_axis(rank: int) -> int:
    """Where channels are: behind the batch in images and matrices, last in sequences."""
    return 2 if rank == 3 else min(1, rank - 1)


@dataclass(frozen=True)
class Gain:
    """``factor · x + offset`` by channel; both of shape (channels,)."""

    factor: Tensor
    offset: Tensor

    def of(self, x: Tensor) -> Tensor:
        """The teacher's tensor as it looks in the student."""
        shape = [1] * x.dim()
        shape[channel_axis(x.dim())] = -1
        return x * self.factor.reshape(shape) + self.offset.reshape(shape)


def gain(student: Tensor, teacher: Tensor) -> Gain | None:
    """The least-squares gain from the teacher's to the student's tensor, or None where there is none to speak of."""
    mine, theirs = _by_channel(student), _by_channel(teacher)
    centred = theirs - theirs.mean(1, keepdim=True)
    factor = (centred * mine).sum(1) / (centred**2).sum(1).clamp_min(1e-12)
    offset = mine.mean(1) - factor * theirs.mean(1)
    found = Gain(factor.float(), offset.float())
    after = float(relative_error(student, found.of(teacher)))
    return found if after < _LEFT and after < _LESS * float(relative_error(student, teacher)) else None


def _by_channel(x: Tensor) -> Tensor:
    return x.movedim(channel_axis(x.dim()), 0).flatten(1).double()
