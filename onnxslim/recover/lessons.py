"""What a student is shown at each step: inputs, and what the teacher makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onnxslim.recover.augment import augment
from onnxslim.recover.gains import Gain
from onnxslim.recover.pool import Feeds, Pool
from onnxslim.recover.reference import Source
from onnxslim.recover.tensors import to_torch


@dataclass(frozen=True)
class Lesson:
    """One run of the student.

    Attributes:
        feeds: Inputs of the trained part, by name.
        targets: The teacher's tensors, by name.
        labels: Class numbers, int64 (n,), or None.
    """

    feeds: dict[str, Tensor]
    targets: dict[str, Tensor]
    labels: Tensor | None


class Lessons:
    """Lessons by step number; the same number gives the same lessons.

    Attributes:
        gains: How some of the teacher's tensors look in the student, by name (``gains.py``).

    Args:
        pool: The samples.
        teacher: Its tensors that are learnt.
        head: The frozen front of the student, or None.
        inputs: What the trained part is fed with.
        changes: How inputs are changed (``augment.py``).
        seed: Of order and changes.
    """

    def __init__(
        self,
        pool: Pool,
        teacher: Source,
        head: Source | None,
        inputs: Sequence[str],
        changes: Sequence[str],
        seed: int,
    ) -> None:
        self._pool, self._teacher, self._head = pool, teacher, head
        self._inputs, self._changes, self._seed = list(inputs), tuple(changes), seed
        self.gains: dict[str, Gain] = {}

    def at(self, step: int, size: int) -> Iterator[Lesson]:
        """The lessons of update ``step``, of ``size`` samples together."""
        rng = np.random.default_rng((self._seed, 3, step))
        for feeds, labels in self._pool.batch(step, size, self._seed):
            changed = augment(feeds, self._changes, rng) if self._changes else feeds
            yield self._lesson(changed, None if "mixup" in self._changes else labels)

    def every(self, size: int) -> Iterator[Lesson]:
        """All samples once, unchanged."""
        for feeds, labels in self._pool.all(size):
            yield self._lesson(feeds, labels)

    def _lesson(self, feeds: Feeds, labels: np.ndarray | None) -> Lesson:
        given = dict(feeds) if self._head is None else {**feeds, **self._head(feeds)}
        return Lesson(
            {name: _fast(given[name]) for name in self._inputs if name in given},
            {name: self._target(name, to_torch(array)) for name, array in self._teacher(feeds).items()},
            None if labels is None else torch.from_numpy(np.ascontiguousarray(labels)),
        )

    def _target(self, name: str, tensor: Tensor) -> Tensor:
        return self.gains[name].of(tensor) if name in self.gains else tensor


def _fast(array: np.ndarray) -> Tensor:
    tensor = to_torch(array)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
