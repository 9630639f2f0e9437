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
#: Positions of a batch that a channel is compared at.
_POSITIONS = 4096


def channel_axis(rank: int) -> int:
    """Where channels are: behind the batch in images and matrices, last in sequences."""
    return 2 if rank == 3 else min(1, rank - 1)


@dataclass(frozen=True)
class Gain:
    """``factor · x + offset`` by channel; both of shape (channels,)."""

    factor: Tensor
    offset: Tensor

    def of(self, x: Tensor) -> Tensor:
        """The teacher's tensor as it looks in the student; unchanged where its size along the axis is another."""
        axis = channel_axis(x.dim())
        if x.shape[axis] != len(self.factor):
            return x
        shape = [1] * x.dim()
        shape[axis] = -1
        return x * self.factor.reshape(shape) + self.offset.reshape(shape)


def gain(mine: Tensor, theirs: Tensor) -> Gain | None:
    """The least-squares gain from the teacher's to the student's tensor, or None where there is none to speak of.

    Args:
        mine: The student's, :func:`by_channel`.
        theirs: The teacher's, the same.
    """
    centred = theirs - theirs.mean(1, keepdim=True)
    factor = (centred * mine).sum(1) / (centred**2).sum(1).clamp_min(1e-12)
    offset = mine.mean(1) - factor * theirs.mean(1)
    found = Gain(factor.float(), offset.float())
    after = float(relative_error(mine, theirs * factor[:, None] + offset[:, None]))
    return found if after < _LEFT and after < _LESS * float(relative_error(mine, theirs)) else None


def by_channel(x: Tensor) -> Tensor:
    """Float64, (channels, some thousands of evenly spread positions)."""
    flat = x.movedim(channel_axis(x.dim()), 0).flatten(1)
    return flat[:, :: max(1, flat.shape[1] // _POSITIONS)].double()
