"""The samples of a training at hand, and the batches of any step, drawn by its number alone.

A run that goes on from a checkpoint at step k therefore sees what an uninterrupted one sees there.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.samples import Batch, Samples

#: More than this many bytes of samples are not kept; a seeded part of them is. Beyond so many they are kept in a file.
MAX_CACHE_BYTES, MAX_HELD_BYTES = 2 << 30, 256 << 20
#: Bytes of samples that are held in several views.
_MAX_VIEW_BYTES = 128 << 20
#: Bytes of a file that samples of different shapes are put into one after the other, and what each begins at a multiple of.
_FILE_BYTES, _ALIGNMENT = 64 << 20, 64
#: Rows that are read or replaced at a time.
_ROWS_AT_ONCE = 64

NamedArrays = dict[str, np.ndarray]


class SampleCache:
    """Samples by index.

    Attributes:
        stacked: One array an input, the sample first, where samples share a batch axis in front; else None, and every
            run of the model takes one of ``batches`` as it is (a fixed batch, samples of different shapes).
        labels: One a row, or None.
        views: How many rows there are of each sample; row i is of sample i modulo their number.
        warnings: What was left out.
    """

    def __init__(self, samples: Samples, seed: int = 0) -> None:
        self.warnings: list[str] = []
        chosen = self._select_samples(samples, np.random.default_rng((seed, 1)))
        self.batches: list[NamedArrays] = []
        self.indices: list[np.ndarray] = []
        self._buffers: list[mmap.mmap] = []
        self._held_bytes, self._room = 0, memoryview(b"")
        self.stacked: NamedArrays | None = {} if samples.fixed_batch is None else None
        self._has_fixed_batch = samples.fixed_batch is not None
        for batch in samples.take(chosen).batches(_ROWS_AT_ONCE):
            self.indices.append(np.asarray(batch.indices))
            if not self._append_rows(batch, len(chosen)):
                self.batches.append(self._keep(batch))
        kept = chosen[np.concatenate(self.indices)]
        self.labels = None if samples.labels is None else samples.labels[kept]
        self.size, self.views = len(kept), 1

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

    @property
    def sample_count(self) -> int:
        """How many samples the rows are of."""
        return self.size // self.views

    @property
    def sample_values(self) -> int:
        """How many numbers the largest input of any sample holds."""
        if self.stacked is not None:
            return max(math.prod(array.shape[1:]) for array in self.stacked.values())
        runs = zip(self.batches, self.indices, strict=True)
        return max(math.ceil(array.size / len(indices)) for feeds, indices in runs for array in feeds.values())

    def count_rows(self, feeds: NamedArrays) -> int:
        """How many samples ``feeds`` hold, which are of this cache."""
        if self.stacked is not None:
            return len(next(iter(feeds.values())))
        lengths = {len(array) for array in feeds.values() if array.ndim}
        alone = set() if self._has_fixed_batch else {1}  # one that was taken from a run
        if len(lengths) == 1 and lengths <= alone | {len(indices) for indices in self.indices}:
            return lengths.pop()
        return max(1, self.size // len(self.batches))

    def can_split(self, feeds: NamedArrays) -> bool:
        """Whether a run, ``feeds``, which are of this cache, may be of some of its samples alone."""
        rows = self.count_rows(feeds)
        return not self._has_fixed_batch and all(array.ndim and len(array) == rows for array in feeds.values())

    def take_largest(self) -> NamedArrays:
        """The sample that holds most, as a run; with those that it has to share a run with."""
        if self.stacked is not None:
            return self._copy_rows(slice(0, 1))
        feeds = max(self.batches, key=lambda feeds: max(array.size for array in feeds.values()) / self.count_rows(feeds))
        return {name: array[:1] for name, array in feeds.items()} if self.can_split(feeds) else feeds

    def _append_rows(self, batch: Batch, count: int) -> bool:
        """Put ``batch`` behind what is stacked, of ``count`` samples in all; until one does not fit."""
        if self.stacked is None:
            return False
        start, stop = batch.indices.start, batch.indices.stop
        if not self.stacked and all(array.ndim and len(array) == stop - start for array in batch.values()):
            self.stacked = {name: self._allocate(count, array) for name, array in batch.items()}
        fits = bool(self.stacked) and all(
            array.ndim and len(array) == stop - start and array.shape[1:] == self.stacked[name].shape[1:]
            for name, array in batch.items()
        )
        if not fits:
            stacked, self.stacked = self.stacked, None
            self.batches = [{name: array[seen] for name, array in stacked.items()} for seen in self.indices[:-1]]
            return False
        for name, array in batch.items():
            self.stacked[name][start:stop] = array
        self._release_pages()
        return True

    def _allocate(self, count: int, array: np.ndarray) -> np.ndarray:
        """Room for ``count`` rows like those of ``array``: in memory, or in a temporary file that is mapped."""
        shape = count, *array.shape[1:]
        size = math.prod(shape) * array.dtype.itemsize
        if size <= MAX_HELD_BYTES or array.dtype.hasobject or (buffer := self._map_file(size)) is None:
            return np.empty(shape, array.dtype)
        return np.frombuffer(buffer, array.dtype).reshape(shape)

    def _map_file(self, size: int) -> mmap.mmap | None:
        """So many bytes of a temporary file; None where there is no room for it."""
        try:
            with tempfile.TemporaryFile() as file:
                _reserve(file.fileno(), size)
                self._buffers.append(mmap.mmap(file.fileno(), size))
        except OSError:
            return None
        return self._buffers[-1]

    def _keep(self, batch: Mapping[str, np.ndarray]) -> NamedArrays:
        """``batch`` as it is kept: in memory, or, once that holds enough, in files that are mapped."""
        self._held_bytes += sum(array.nbytes for array in batch.values())
        if self._held_bytes <= MAX_HELD_BYTES:
            return dict(batch)
        kept = {name: self._move_to_file(array) for name, array in batch.items()}
        self._release_pages()
        return kept

    def _move_to_file(self, array: np.ndarray) -> np.ndarray:
        """A copy of ``array`` in a file, or itself where there is no room for that."""
        if array.dtype.hasobject or not array.nbytes:
            return array
        if len(self._room) < array.nbytes:
            buffer = self._map_file(max(_FILE_BYTES, array.nbytes))
            if buffer is None:
                return array
            self._room = memoryview(buffer)
        place, self._room = self._room[: array.nbytes], self._room[-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT :]
        moved = np.frombuffer(place, array.dtype).reshape(array.shape)
        moved[...] = array
        return moved

    def _release_pages(self) -> None:
        """Let go of the pages of mapped files that were touched: the system has them still, if it has room."""
        for buffer in self._buffers:
            if hasattr(mmap, "MADV_DONTNEED"):
                buffer.madvise(mmap.MADV_DONTNEED)

    def change_all(self, change: Callable[[NamedArrays], NamedArrays], max_views: int = 1) -> None:
        """Put what ``change`` makes of each run of samples in their place; shapes and types stay.

        Args:
            change: May give another answer each time.
            max_views: So many rows for each sample at most, where samples are stacked and that is not many bytes: all
                samples once, then all of them again (:attr:`views`).
        """
        self.batches = [change(batch) for batch in self.batches]
        if self.stacked is None:
            return
        sources, count = self.stacked, self.size
        sample_bytes = max(1, sum(array.nbytes for array in sources.values()))
        self.views = max(1, min(max_views, _MAX_VIEW_BYTES // sample_bytes))
        self.size = self.views * count
        targets = {name: self._allocate(self.size, array) for name, array in sources.items()}
        for start in (view * count + row for view in range(self.views) for row in range(0, count, _ROWS_AT_ONCE)):
            rows = slice(start % count, min(start % count + _ROWS_AT_ONCE, count))
            for name, array in change({name: np.array(source[rows]) for name, source in sources.items()}).items():
                targets[name][start : start + len(array)] = array
            self._release_pages()
        self.stacked = targets
        self.labels = None if self.labels is None else np.concatenate([self.labels] * self.views)

    def _copy_rows(self, rows: np.ndarray | slice) -> NamedArrays:
        assert self.stacked is not None
        copies = {name: np.array(array[rows]) for name, array in self.stacked.items()}
        self._release_pages()
        return copies

    def draw_batches(self, step: int, size: int, seed: int) -> Iterator[tuple[NamedArrays, np.ndarray | None]]:
        """The runs, with their labels, of update number ``step``: about ``size`` samples in one epoch's order."""
        if self.stacked is None:
            yield from self._draw_whole_batches(step, size, seed)
            return
        size = min(size, self.size)
        steps = self.size // size
        order = np.random.default_rng((seed, 2, step // steps)).permutation(self.size)
        chosen = order[step % steps * size :][:size]
        yield self._copy_rows(chosen), None if self.labels is None else self.labels[chosen]

    def _draw_whole_batches(self, step: int, size: int, seed: int) -> Iterator[tuple[NamedArrays, np.ndarray | None]]:
        batch_size = max(1, self.size // len(self.batches))
        count = min(max(1, size // batch_size), len(self.batches))
        steps = len(self.batches) // count
        order = np.random.default_rng((seed, 2, step // steps)).permutation(len(self.batches))
        self._release_pages()
        for i in order[step % steps * count :][:count].tolist():
            yield self.batches[i], None if self.labels is None else self.labels[self.indices[i]]

    def iterate_all(self, size: int) -> Iterator[tuple[NamedArrays, np.ndarray | None]]:
        """Every sample once, in a fixed order."""
        if self.stacked is None:
            for batch, indices in zip(self.batches, self.indices, strict=True):
                yield batch, None if self.labels is None else self.labels[indices]
                self._release_pages()
            return
        for start in range(0, self.size, size):
            rows = slice(start, start + size)
            yield self._copy_rows(rows), None if self.labels is None else self.labels[rows]


def _reserve(file: int, size: int) -> None:
    """Make room in a file now: what a full disk does not have would end the process when it is written to.

    Raises:
        OSError: There is no such room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


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
