"""Samples: what every step is fed with, streamed in batches that the model takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.columns import Array, Column, ColumnRows, Indices
from onnxslim.data.input_binding import (
    InputFeed,
    assemble_tensor,
    check_shared_values,
    digest_row,
    find_batch_ends,
    find_fixed_batch,
    read_rows,
)
from onnxslim.data.states.token_layout import TokenLayout

#: Samples, and bytes of them, read at a time where nothing else decides.
MAX_READ_SAMPLES, MAX_READ_BYTES = 64, 16 << 20
#: Bytes read ahead of what a batch needs.
MAX_READAHEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class StepIndex:
    """Of every row of a source in time: the sequence it belongs to, and its place there, from 0; shape (n,) each."""

    sequence: Indices
    time: Indices


class Batch(dict[str, Array]):
    """The feeds of one run, by input name, and ``indices``: which samples they are, in the order of the Samples."""

    def __init__(self, feeds: Mapping[str, Array], indices: range) -> None:
        super().__init__(feeds)
        self.indices = indices


def too_few_samples(source: str, count: int, needed: int | None, purpose: str = "") -> UsageError:
    """There are ``count`` samples, and the model's batch asks for ``needed``."""
    return UsageError(
        f"{source}: {count} samples, expected at least {needed}{purpose}",
        hint=f"the model's batch is fixed: give {needed} samples or more, or export it with a free batch",
    )


class Samples:
    """Samples of all inputs of a model, in a fixed order, each run giving new arrays from where they are stored.

    Nothing is held in memory but one batch. How a sample becomes a feed is written in :mod:`onnxslim.data.model_inputs`.
    Batches follow the model: along a free batch axis as many samples as asked for, along one fixed at N exactly N (a
    remainder is left out, and said in ``warnings``; what is shared by a run is then the first sample's); samples that
    cannot be stacked are fed one by one. Samples of different shapes, or with different values for an input of rank 0,
    are never padded: a batch ends where either changes.

    Attributes:
        feeds: The rows each input is fed from, for all samples of the source.
        source: Where they come from, for the report.
        warnings: One-line cautions about them.
        fixed_batch: How many samples every run takes where the model or the samples decide it, else None.
        state: Output → the input that it is fed back to, where samples are steps of sequences.
        layout: How tokens are fed, where samples are the runs that texts make.

    Raises:
        InvalidDataError: No samples, or the shapes do not go together.
        UsageError: Fewer samples than one run takes.
    """

    def __init__(
        self,
        feeds: Sequence[InputFeed],
        *,
        source: str,
        labels: Array | None = None,
        groups: Array | None = None,
        indices: Indices | None = None,
        warnings: Sequence[str] = (),
        steps: StepIndex | None = None,
        state: Mapping[str, str] | None = None,
        layout: TokenLayout | None = None,
    ) -> None:
        self.feeds, self.layout = tuple(feeds), layout
        self._steps, self.state = steps, dict(state or {})
        self._digests: dict[int, bytes] = {}
        self._indices: Indices = np.arange(len(feeds[0].column)) if indices is None else indices
        self._all_labels, self._all_groups = labels, groups
        self.source = source
        self.warnings = list(warnings)
        self.fixed_batch = find_fixed_batch(self.feeds)
        remainder = len(self._indices) % (self.fixed_batch or 1)
        if remainder:
            self._indices = self._indices[: len(self._indices) - remainder]
            left_out = "1 sample" if remainder == 1 else f"{remainder} samples"
            self.warnings.append(f"{source}: the model's batch is fixed at {self.fixed_batch}; {left_out} left out")
        if not len(self._indices):
            if remainder:
                raise too_few_samples(source, remainder, self.fixed_batch)
            raise InvalidDataError(f"{source}: no samples")

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def input_names(self) -> list[str]:
        """The inputs that are fed, in graph order."""
        return [f.input.name for f in self.feeds]

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """The shape of one sample by input; None where samples differ."""
        return {f.input.name: next(iter(s)) if len(s := f.column.shapes) == 1 else None for f in self.feeds}

    @property
    def ranks(self) -> dict[str, int]:
        """The rank of what a run takes, by input; those whose samples differ in it are left out."""
        ranks = {
            f.input.name: {len(shape) + (f.input.find_stacking_axis(shape) is not None) for shape in f.column.shapes}
            for f in self.feeds
        }
        return {name: next(iter(found)) for name, found in ranks.items() if len(found) == 1}

    @property
    def sample_bytes(self) -> int:
        """The bytes of the largest sample over all inputs, as the model is fed with it."""
        return sum(f.sample_bytes for f in self.feeds)

    @property
    def read_size(self) -> int:
        """How many samples to read at a time where nothing else decides."""
        return max(1, min(MAX_READ_SAMPLES, MAX_READ_BYTES // max(self.sample_bytes, 1)))

    @property
    def labels(self) -> Array | None:
        """One label per sample along the first axis, or None."""
        return None if self._all_labels is None else self._all_labels[self._indices]

    @property
    def groups(self) -> Array | None:
        """The group each sample belongs to (a recording, a patient), which is never split; or None."""
        return None if self._all_groups is None else self._all_groups[self._indices]

    @property
    def sequences(self) -> Array | None:
        """The sequence each sample is a step of, or None where samples are not in time."""
        return None if self._steps is None else self._steps.sequence[self._indices]

    @property
    def times(self) -> Array | None:
        """The place of each sample in its sequence, from 0, or None."""
        return None if self._steps is None else self._steps.time[self._indices]

    @property
    def continues_previous(self) -> Array:
        """Shape (n,), bool: where a sample is the step right after the sample before it."""
        continues = np.zeros(len(self), np.bool_)
        if (sequences := self.sequences) is not None and (times := self.times) is not None:
            continues[1:] = (sequences[1:] == sequences[:-1]) & (times[1:] == times[:-1] + 1)
        return continues

    @property
    def source_positions(self) -> Indices:
        """Of every row of the source: which of these samples it is, the first one where it is several; else 0."""
        positions = np.zeros(len(self.feeds[0].column), np.intp)
        positions[self._indices[::-1]] = np.arange(len(self))[::-1]
        return positions

    @property
    def is_random(self) -> bool:
        """Whether they are made up, so that what a model does with them says nothing of what it is for."""
        return self.source.split(",")[0] == "random"

    def as_json(self) -> dict[str, Any]:
        """The contract's entry of ``data``: the source and the number of samples, of sequences where there are any."""
        entry: dict[str, Any] = {"source": self.source, "n": len(self)}
        if (sequences := self.sequences) is not None:
            entry["sequences"] = len(np.unique(sequences))
        return entry

    @property
    def run_count(self) -> int:
        """How many runs the samples fill; one a sample where the model leaves the batch free."""
        return len(self) // (self.fixed_batch or 1)

    def round_to_runs(self, count: int) -> int:
        """The largest number of samples, up to ``count`` and all there are, that fills whole runs; one run at least."""
        size = self.fixed_batch or 1
        return max(size, min(count, len(self)) // size * size)

    def with_feeds(self, feeds: Sequence[InputFeed], state: Mapping[str, str], notes: Sequence[str] = ()) -> Samples:
        """These samples with the inputs of ``feeds`` as well, which ``state`` says are fed back; ``notes`` are warnings."""
        samples = self._make_view(self._indices, self.source, (*self.feeds, *feeds), state)
        samples.warnings.extend(notes)
        return samples

    def with_columns(self, columns: Mapping[str, Column]) -> Samples:
        """These samples with the rows of some inputs, by name, from other columns, of as many rows."""
        feeds = [replace(f, column=columns.get(f.input.name, f.column)) for f in self.feeds]
        return self._make_view(self._indices, self.source, feeds, self.state)

    def with_layout(self, layout: TokenLayout) -> Samples:
        """These samples as the runs of texts, whose tokens are fed as ``layout`` says."""
        samples = self.take(np.arange(len(self)))
        samples.layout = layout
        return samples

    def take(self, indices: ArrayLike, *, source: str | None = None) -> Samples:
        """The samples at ``indices``, in that order, streamed from the same place; IndexError outside the range."""
        chosen = np.asarray(indices, dtype=np.intp).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= len(self)):
            raise IndexError(f"sample {chosen.min() if chosen.min() < 0 else chosen.max()} of {len(self)}")
        taken = self._make_view(self._indices[chosen], source or self.source, self.feeds, self.state)
        # A digest is dear (an image is decoded for it) and does not change: all views of one source share them.
        taken._digests = self._digests
        return taken

    def _make_view(self, indices: Indices, source: str, feeds: Sequence[InputFeed], state: Mapping[str, str]) -> Samples:
        return Samples(
            feeds,
            source=source,
            labels=self._all_labels,
            groups=self._all_groups,
            indices=indices,
            warnings=self.warnings,
            steps=self._steps,
            state=state,
            layout=self.layout,
        )

    def batches(self, size: int) -> Iterator[Batch]:
        """Feeds of at most ``size`` samples each, in order, in the model's dtypes and ranks.

        Raises:
            UsageError: ``size`` is below 1.
            InvalidDataError: NaN, infinity or an integer the model's type cannot hold, when its batch is reached;
                the sample is counted as in the source.
        """
        if size < 1:
            raise UsageError(f"a batch of {size} samples cannot be run")
        size, start = self.fixed_batch or size, 0
        # Small batches are read many at a time: one by one, reading takes longer than a small model does.
        readahead = min(MAX_READ_SAMPLES, MAX_READAHEAD_BYTES // max(self.sample_bytes, 1))
        for rows in self.read_rows(size * max(1, readahead // size)):
            for offset in range(0, len(rows[0]), size):
                parts = [part[offset : offset + size] for part in rows]
                count = len(parts[0])
                for first, last in pairwise(self._find_batch_ends(parts, count)):
                    feeds = {
                        f.input.name: assemble_tensor(part[first:last], f.axis)
                        for f, part in zip(self.feeds, parts, strict=True)
                    }
                    yield Batch(feeds, range(start + first, start + last))
                start += count

    def digests(self) -> list[bytes]:
        """A hash of the contents of each sample over all inputs, as the model would be fed with it alone.

        Equal for equal contents, however they are stored: dtype and rank are the model's.
        """
        missing = [i for i in dict.fromkeys(self._indices.tolist()) if i not in self._digests]
        if missing and self.state and self._steps is not None:
            self._digests.update(enumerate(self._digest_steps(self._steps.time)))
        elif missing:
            position = iter(missing)
            for parts in self.read_rows(self.read_size, np.array(missing)):
                for rows in zip(*parts, strict=True):
                    self._digests[next(position)] = digest_row(self.feeds, rows)
        return [self._digests[i] for i in self._indices.tolist()]

    def _digest_steps(self, times: Indices) -> Iterator[bytes]:
        """Of every row of the source. The state at a step follows from what was fed before it, so that hashing this will
        do: the caches of a decoder are a thousand times as much.
        """
        fed_back = set(self.state.values())
        feeds = [feed for feed in self.feeds if feed.input.name not in fed_back]
        order, before = np.arange(len(times)), b""
        for start, parts in zip(range(0, len(order), self.read_size), read_rows(feeds, self.read_size, order), strict=True):
            for index, rows in enumerate(zip(*parts, strict=True), start=start):
                before = hashlib.blake2b(
                    (before if times[index] else b"") + digest_row(feeds, rows), digest_size=16
                ).digest()
                yield before

    def fingerprint(self) -> str:
        """A hash of all contents in order, for the record of which data were used."""
        return hashlib.blake2b(b"".join(self.digests()), digest_size=16).hexdigest()

    def read_rows(self, size: int, indices: Indices | None = None, *, only: str | None = None) -> Iterator[list[ColumnRows]]:
        """The samples themselves, ``size`` at a time along the first axis, converted, in the order of :attr:`input_names`.

        ``indices`` are rows of the source to read instead of these samples, ``only`` the one input to read.
        """
        feeds = [feed for feed in self.feeds if only in (None, feed.input.name)]
        return read_rows(feeds, size, self._indices if indices is None else indices)

    def _find_batch_ends(self, parts: Sequence[ColumnRows], count: int) -> list[int]:
        """Where a batch must end: between samples that cannot share a run."""
        if self.fixed_batch is None:
            return find_batch_ends(self.feeds, parts, count)
        if self._all_labels is not None:
            check_shared_values(self.feeds, parts, self.fixed_batch)
        return [0, count]
