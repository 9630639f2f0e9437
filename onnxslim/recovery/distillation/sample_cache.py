"""The samples of a training in memory, and the batches of any step, drawn by its number alone.

A run that goes on from a checkpoint at step k therefore sees what an uninterrupted one sees there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.samples import Samples

#: More than this many bytes of samples are not held; a seeded part of them is.
MAX_CACHE_BYTES = 2 << 30

NamedArrays = dict[str, np.ndarray]


class SampleCache:
    """Samples by index.

    Attributes:
        stacked: One array an input, the sample first, where samples share a batch axis in front; else None, and every
            run of the model takes one of ``batches`` as it is (a fixed batch, samples of different shapes).
        labels: One a sample, or None.
        warnings: What was left out.
    """

    def __init__(self, samples: Samples, seed: int = 0) -> None:
        self.warnings: list[str] = []
        chosen = self._select_samples(samples, np.random.default_rng((seed, 1)))
        self.batches: list[NamedArrays] = []
        self.indices: list[np.ndarray] = []
        for batch in samples.take(chosen).batches(64):
            self.batches.append(dict(batch))
            self.indices.append(np.asarray(batch.indices))
        kept = chosen[np.concatenate(self.indices)]
        self.labels = None if samples.labels is None else samples.labels[kept]
        self.size = len(kept)
        self.stacked = self._stack() if samples.fixed_batch is None else None
        if self.stacked is not None:
            self.batches = []

    def _select_samples(self, samples: Samples, rng: np.random.Generator) -> np.ndarray:
        """Which samples are held: all that fit, in their order; shuffled where the model fixes who runs together."""
        probe = next(iter(samples.batches(16)))
        capacity = int(MAX_CACHE_BYTES * len(probe.indices) / max(1, sum(array.nbytes for array in probe.values())))
        chosen, capacity = np.arange(len(samples)), samples.round_to_runs(capacity)
        if capacity < len(samples):
            self.warnings.append(
                f"{capacity} of {len(samples)} samples are trained on: they fill {MAX_CACHE_BYTES >> 20} MB"
            )
            chosen = np.sort(rng.choice(chosen, capacity, replace=False))
        return rng.permutation(chosen) if (samples.fixed_batch or 1) > 1 else chosen

    def __len__(self) -> int:
        return self.size

    def count_rows(self, feeds: NamedArrays) -> int:
        """How many samples ``feeds`` hold, which are of this cache."""
        if self.stacked is not None:
            return len(next(iter(feeds.values())))
        return max(1, self.size // len(self.batches))

    def _stack(self) -> NamedArrays | None:
        first = self.batches[0]
        for batch, indices in zip(self.batches, self.indices, strict=True):
            for name, array in batch.items():
                if array.ndim == 0 or len(array) != len(indices) or array.shape[1:] != first[name].shape[1:]:
                    return None
        return {name: np.concatenate([batch[name] for batch in self.batches]) for name in first}

    def draw_batches(self, step: int, size: int, seed: int) -> Iterator[tuple[NamedArrays, np.ndarray | None]]:
        """The runs, with their labels, of update number ``step``: about ``size`` samples in one epoch's order."""
        if self.stacked is None:
            yield from self._draw_whole_batches(step, size, seed)
            return
        size = min(size, self.size)
        steps = self.size // size
        order = np.random.default_rng((seed, 2, step // steps)).permutation(self.size)
        chosen = order[step % steps * size :][:size]
        feeds = {name: array[chosen] for name, array in self.stacked.items()}
        yield feeds, None if self.labels is None else self.labels[chosen]

    def _draw_whole_batches(self, step: int, size: int, seed: int) -> Iterator[tuple[NamedArrays, np.ndarray | None]]:
        batch_size = max(1, self.size // len(self.batches))
        count = min(max(1, size // batch_size), len(self.batches))
        steps = len(self.batches) // count
        order = np.random.default_rng((seed, 2, step // steps)).permutation(len(self.batches))
        for i in order[step % steps * count :][:count].tolist():
            yield self.batches[i], None if self.labels is None else self.labels[self.indices[i]]

    def iterate_all(self, size: int) -> Iterator[tuple[NamedArrays, np.ndarray | None]]:
        """Every sample once, in a fixed order."""
        if self.stacked is None:
            for batch, indices in zip(self.batches, self.indices, strict=True):
                yield batch, None if self.labels is None else self.labels[indices]
            return
        for start in range(0, self.size, size):
            feeds = {name: array[start : start + size] for name, array in self.stacked.items()}
            yield feeds, None if self.labels is None else self.labels[start : start + size]


def class_labels(labels: np.ndarray | None, source: str) -> np.ndarray | None:
    """Labels as class numbers (n,), or None where there are none.

    Raises:
        InvalidDataError: They are something else.
    """
    if labels is None:
        return None
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or flat.dtype.kind not in "iub":
        raise InvalidDataError(f"{source}: labels of shape {labels.shape}, {labels.dtype}, are not class numbers")
    return flat[:, 0].astype(np.int64)
