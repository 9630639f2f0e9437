"""The batches of a distillation: inputs, and the tensors that the teacher computes from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from onnxslim.recovery.distillation.augmentation import augment
from onnxslim.recovery.distillation.channel_map import ChannelMap
from onnxslim.recovery.distillation.sample_cache import NamedArrays, SampleCache
from onnxslim.recovery.distillation.teacher import TappedModel
from onnxslim.recovery.tensor_conversion import to_torch


@dataclass(frozen=True)
class DistillationBatch:
    """One run of the student.

    Attributes:
        feeds: Inputs of the trained part, by name.
        targets: The teacher's tensors, by name.
        labels: Class numbers, int64 (n,), or None.
    """

    feeds: dict[str, Tensor]
    targets: dict[str, Tensor]
    labels: Tensor | None

    @property
    def sample_count(self) -> int:
        """How many samples it holds; 1 where no input has an axis to count them by."""
        return max((len(tensor) for tensor in self.feeds.values() if tensor.dim()), default=1)


@dataclass(frozen=True)
class MicroBatch:
    """A ``share`` of an update's samples, changed as they are to be shown, not yet answered by the teacher."""

    feeds: NamedArrays
    labels: np.ndarray | None
    share: float


class DistillationLoader:
    """Batches by step number; the same number gives the same batches.

    Attributes:
        channel_maps: How some of the teacher's tensors look in the student, by name (``channel_map.py``).
        max_part_values: So many numbers the largest input of a part holds at most, where samples differ in shape.

    Args:
        cache: The samples.
        teacher: Its tensors that are learnt.
        front: The frozen front of the student, or None.
        inputs: What the trained part is fed with.
        augmentations: How inputs are changed (``augmentation.py``).
        seed: Of order and augmentations.
    """

    def __init__(
        self,
        cache: SampleCache,
        teacher: TappedModel,
        front: TappedModel | None,
        inputs: Sequence[str],
        augmentations: Sequence[str],
        seed: int,
    ) -> None:
        self.cache, self._teacher, self._front = cache, teacher, front
        self._inputs, self.augmentations, self.seed = list(inputs), tuple(augmentations), seed
        self.channel_maps: dict[str, ChannelMap] = {}
        self.max_part_values = math.inf

    def micro_batches_at(self, step: int, size: int, count: int) -> list[MicroBatch]:
        """The samples of update ``step``, ``size`` together, those of each run of the student in ``count`` equal parts, or,
        where samples differ in shape, in as many as :attr:`max_part_values` asks for.
        """
        rng = np.random.default_rng((self.seed, 3, step))
        micro_batches: list[MicroBatch] = []
        for feeds, labels in self.cache.draw_batches(step, size, self.seed):
            augmented = augment(feeds, self.augmentations, rng) if self.augmentations else feeds
            used_labels = None if "mixup" in self.augmentations else labels
            if self.cache.stacked is None:  # of one length a run: there may be many of it or few
                micro_batches += self._split_run(augmented, used_labels)
            else:
                micro_batches += _split_into_micro_batches(augmented, used_labels, count)
        run_count = sum(part.share for part in micro_batches)
        return [replace(part, share=part.share / run_count) for part in micro_batches]

    def _split_run(self, feeds: NamedArrays, labels: np.ndarray | None) -> list[MicroBatch]:
        """Samples of one shape in parts that are not too large, each part's share the number of its samples."""
        rows = self.cache.count_rows(feeds)
        if not self.cache.can_split(feeds):
            return [MicroBatch(feeds, labels, rows)]
        count = math.ceil(max(array.size for array in feeds.values()) / self.max_part_values)
        return [replace(part, share=part.share * rows) for part in _split_into_micro_batches(feeds, labels, count)]

    def iterate_all(self, size: int) -> Iterator[DistillationBatch]:
        """All samples once, unchanged."""
        return (self.add_targets(MicroBatch(feeds, labels, 1.0)) for feeds, labels in self.cache.iterate_all(size))

    def add_targets(self, micro_batch: MicroBatch) -> DistillationBatch:
        """What the teacher makes of ``micro_batch``; several threads may ask."""
        feeds, labels = micro_batch.feeds, micro_batch.labels
        tensors = dict(feeds) if self._front is None else {**feeds, **self._front(feeds)}
        targets, maps = {n: to_torch(array) for n, array in self._teacher(feeds).items()}, self.channel_maps
        return DistillationBatch(
            {name: _to_fast_layout(tensors[name]) for name in self._inputs if name in tensors},
            {name: maps[name].apply(target) if name in maps else target for name, target in targets.items()},
            None if labels is None else torch.from_numpy(np.ascontiguousarray(labels)),
        )


def _split_into_micro_batches(feeds: NamedArrays, labels: np.ndarray | None, count: int) -> list[MicroBatch]:
    """``feeds``, whose first axes count samples, in ``count`` parts, or in fewer of at least two samples."""
    n = len(next(iter(feeds.values())))
    index_groups = np.array_split(np.arange(n), max(1, min(count, n // 2)))
    if len(index_groups) == 1:
        return [MicroBatch(feeds, labels, 1.0)]
    return [
        MicroBatch(
            {name: array[indices] for name, array in feeds.items()},
            None if labels is None else labels[indices],
            len(indices) / n,
        )
        for indices in index_groups
    ]


def _to_fast_layout(array: np.ndarray) -> Tensor:
    tensor = to_torch(array)
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
