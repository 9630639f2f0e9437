"""What a student is shown at each step: inputs, and what the teacher makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class Part:
    """Some of an update's samples, changed as they are to be shown, not yet answered by the teacher.

    Attributes:
        feeds: Inputs of the student, by name.
        labels: Class numbers, or None.
        share: Of the update's samples.
    """

    feeds: Feeds
    labels: np.ndarray | None
    share: float


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
        return (self.lesson(part) for part in self.parts(step, size, 1))

    def parts(self, step: int, size: int, count: int) -> list[Part]:
        """The samples of update ``step``, ``size`` together, those of each run of the student in ``count`` equal parts."""
        rng = np.random.default_rng((self._seed, 3, step))
        found: list[Part] = []
        for feeds, labels in self._pool.batch(step, size, self._seed):
            changed = augment(feeds, self._changes, rng) if self._changes else feeds
            shown = None if "mixup" in self._changes else labels
            found += _divided(changed, shown, count if self._pool.stacked is not None else 1)
        runs = sum(part.share for part in found)
        return [replace(part, share=part.share / runs) for part in found]

    def every(self, size: int) -> Iterator[Lesson]:
        """All samples once, unchanged."""
        return (self.lesson(Part(feeds, labels, 1.0)) for feeds, labels in self._pool.all(size))

    def lesson(self, part: Part) -> Lesson:
        """What the teacher makes of ``part``; several threads may ask."""
        feeds, labels = part.feeds, part.labels
        given = dict(feeds) if self._head is None else {**feeds, **self._head(feeds)}
        return Lesson(
            {name: _fast(given[name]) for name in self._inputs if name in given},
            {name: self._target(name, to_torch(array)) for name, array in self._teacher(feeds).items()},
            None if labels is None else torch.from_numpy(np.ascontiguousarray(labels)),
        )

    def _target(self, name: str, tensor: Tensor) -> Tensor:
        return self.gains[name].of(tensor) if name in self.gains else tensor


def _divided(feeds: Feeds, labels: np.ndarray | None, count: int) -> list[Part]:
    """``feeds``, whose first axes count samples, in ``count`` parts, or in fewer of at least two samples."""
    n = len(next(iter(feeds.values())))
    places = np.array_split(np.arange(n), max(1, min(count, n // 2)))
    if len(places) == 1:
        return [Part(feeds, labels, 1.0)]
    return [
        Part({name: array[at] for name, array in feeds.items()}, None if labels is None else labels[at], len(at) / n)
        for at in places
    ]


def _fast(array: np.ndarray) -> Tensor:
    tensor = to_torch(array)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
