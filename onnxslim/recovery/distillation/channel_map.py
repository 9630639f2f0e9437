"""How a tensor of the teacher looks in the student: some of its channels, each with a gain and an offset.

Pruning takes channels from a stream that every block writes to, and keeps the stream's name; equalisation and smoothing
move scale from one layer to the next. Such a tensor is compared with the teacher's as it looks in the student. Which
channels were kept is read from the data: those that the student's follow, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onnxslim.recovery.distillation.losses import relative_error

#: The student's tensor counts as a rescaled teacher's if a gain explains all but so much, and this much more than none.
_MAX_RESIDUAL_ERROR, _MAX_ERROR_RATIO = 0.5, 0.25
#: A tensor that is further from the teacher's than zero would be is no twin of it.
_MAX_ERROR = 1.0
#: Positions of a batch that a channel is compared at.
_MAX_POSITIONS = 1024


def channel_axis(rank: int) -> int:
    """Where channels are: behind the batch in images and matrices, last in sequences."""
    return 2 if rank == 3 else min(1, rank - 1)


@dataclass(frozen=True)
class ChannelMap:
    """``gain · x[kept] + offset`` along ``axis``.

    Attributes:
        axis: Of the channels.
        kept: Which of the teacher's channels the student has, ascending, int64 (channels,); None: all of them.
        gain: Float32 (channels,), or None: as they are.
        offset: The same.
    """

    axis: int
    kept: Tensor | None = None
    gain: Tensor | None = None
    offset: Tensor | None = None

    @property
    def is_identity(self) -> bool:
        """Whether the teacher's tensor stays as it is."""
        return self.kept is None and self.gain is None

    def apply(self, x: Tensor) -> Tensor:
        """The teacher's tensor as it looks in the student; unscaled where its size along the axis is another."""
        if self.kept is not None:
            x = x.index_select(self.axis, self.kept)
        if self.gain is None or self.offset is None or x.shape[self.axis] != len(self.gain):
            return x
        shape = [1] * x.dim()
        shape[self.axis] = -1
        return x * self.gain.reshape(shape) + self.offset.reshape(shape)


def find_axis(student: Tensor, teacher: Tensor) -> int | None:
    """The axis that channels went from, or where they are if none did; None where the shapes tell no such axis."""
    if student.dim() != teacher.dim() or student.dim() == 0:
        return None
    axes = [axis for axis, (mine, theirs) in enumerate(zip(student.shape, teacher.shape, strict=True)) if mine != theirs]
    if not axes:
        return channel_axis(student.dim())
    return axes[0] if len(axes) == 1 and student.shape[axes[0]] < teacher.shape[axes[0]] else None


def fit_channel_map(axis: int, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> ChannelMap | None:
    """How the teacher's tensor looks in the student's, or None where it is not to be found in it.

    Args:
        axis: Of the channels.
        student: The student's by batch, :func:`sample_by_channel`.
        teacher: The teacher's, the same.
    """
    if len({len(values) for values in student}) > 1 or len({len(values) for values in teacher}) > 1:
        return ChannelMap(axis)  # an axis that varies from sample to sample is no axis of channels
    mine, theirs = torch.cat(list(student), 1), torch.cat(list(teacher), 1)
    if not (mine.isfinite().all() and theirs.isfinite().all()):
        return None
    kept = None
    if len(mine) != len(theirs):
        kept = torch.from_numpy(match_channels(mine.numpy(), theirs.numpy()))
        theirs = theirs[kept]
    centered = theirs - theirs.mean(1, keepdim=True)
    gain = (centered * mine).sum(1) / (centered**2).sum(1).clamp_min(1e-12)
    offset = mine.mean(1) - gain * theirs.mean(1)
    error = float(relative_error(mine, theirs))
    residual_error = float(relative_error(mine, theirs * gain[:, None] + offset[:, None]))
    if residual_error < _MAX_RESIDUAL_ERROR and residual_error < _MAX_ERROR_RATIO * error:
        return ChannelMap(axis, kept, gain.float(), offset.float())
    return ChannelMap(axis, kept) if error <= _MAX_ERROR else None


def match_channels(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """The teacher's channels, ascending, that the student's follow most closely: indices, int64 (channels,).

    Pruning keeps the order of what it keeps, so that this is an alignment of two sequences: the sum of correlations over
    all ascending choices is largest (Needleman and Wunsch 1970), which one channel that was repaired beyond recognition does
    not upset.

    Args:
        student: (channels, positions).
        teacher: (more channels, positions).
    """
    likeness = _normalize(student) @ _normalize(teacher).T
    mine, theirs = likeness.shape
    best = np.full((mine + 1, theirs + 1), -np.inf)
    best[0] = 0.0
    for i in range(mine):
        best[i + 1, 1:] = np.maximum.accumulate(best[i, :-1] + likeness[i])
    kept, end = np.empty(mine, np.int64), theirs
    for i in range(mine, 0, -1):
        # the first prefix of the teacher's channels that is as good as all up to ``end``: its last channel is the match
        end = int(np.argmax(best[i, : end + 1] >= best[i, end]))
        kept[i - 1] = end = end - 1
    return kept


def _normalize(channels: np.ndarray) -> np.ndarray:
    """Every channel without its mean, of length 1; one that never changes is like others of its kind only."""
    centered = channels - channels.mean(1, keepdims=True)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    idle = lengths[:, 0] <= 1e-12
    units: np.ndarray = centered / np.maximum(lengths, 1e-12)
    return np.column_stack([np.where(idle[:, None], 0.0, units), idle.astype(channels.dtype)])


def sample_by_channel(x: Tensor, axis: int | None = None) -> Tensor:
    """Float64, (channels, some hundreds of evenly spread positions); ``axis`` is :func:`channel_axis` by default."""
    moved = x.movedim(channel_axis(x.dim()) if axis is None else axis, 0)
    flat = moved.flatten(1) if moved.dim() > 1 else moved[:, None]  # a model without a batch gives bare channels
    return flat[:, :: max(1, flat.shape[1] // _MAX_POSITIONS)].double()
