"""Statistics in files: written while they are taken, gone on from after an interruption, added up, never mixed up.

One ``.npz`` a run: the arrays of :class:`~onnxslim.quantization.calibration.histograms.Statistics`, a hash of the
model, weights and all, what it was equalised by, and a hash of each sample. Files of parts of the data that were taken
on one model, equalised alike, add up to exactly the file of the whole.
"""

from __future__ import annotations

import hashlib
import io as streams
import os
import time
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.model_io import model_file
from onnxslim.model_io.atomic_write import open_draft
from onnxslim.quantization.calibration.histograms import CELLS_PER_SIDE, Statistics

#: Seconds between two writes.
WRITE_INTERVAL = 10.0
_STATISTICS_KEYS = ("names", "lows", "highs", "exponents", "counts", "model", "samples")
_EQUALIZATION_KEYS = ("basis_names", "basis_sizes", "basis_peaks", "basis_energies", "basis_clips")


@dataclass(frozen=True, eq=False)
class EqualizationStatistics:
    """What :func:`~onnxslim.quantization.static.cross_layer_equalization.equalize` works from.

    Attributes:
        channels: By tensor name the largest magnitude and the mean square of each channel, float64 (C,) each.
        include_clips: Whether streams with a Clip were rescaled too.
    """

    channels: Mapping[str, tuple[np.ndarray, np.ndarray]]
    include_clips: bool = True

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, EqualizationStatistics)
            and self.include_clips == other.include_clips
            and self.channels.keys() == other.channels.keys()
            and all(np.array_equal(self.channels[name], other.channels[name]) for name in self.channels)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class CalibrationCache:
    """Statistics, and what they are of.

    Attributes:
        statistics: Extremes and histograms of every tensor.
        model_hash: The hash of the model before it was equalised (:func:`hash_model`).
        sample_hashes: Each sample's, in the order they were seen.
        equalization: What the model was equalised by.
    """

    statistics: Statistics
    model_hash: str
    sample_hashes: tuple[str, ...]
    equalization: EqualizationStatistics

    def merge(self, later: CalibrationCache) -> CalibrationCache:
        """Both, as one run over these samples and then ``later``'s would have left them.

        Raises:
            InvalidDataError: They are of different models, were equalised by different data, or share a sample.
        """
        if self.model_hash != later.model_hash or self.statistics.names != later.statistics.names:
            raise InvalidDataError("the statistics are of different models")
        if self.equalization != later.equalization:
            raise InvalidDataError(
                "the statistics are of one model, equalised by different data",
                hint="a later part's run must read an earlier part's file too: --statistics LATER --statistics EARLIER",
            )
        if shared_samples := set(self.sample_hashes) & set(later.sample_hashes):
            raise InvalidDataError(f"{len(shared_samples)} samples are in both statistics")
        statistics = self.statistics.merge(later.statistics)
        return replace(self, statistics=statistics, sample_hashes=self.sample_hashes + later.sample_hashes)


def hash_model(model: ir.Model) -> str:
    """A hash of ``model``, weights and all, in hexadecimal digits."""
    return hashlib.blake2b(model_file.to_bytes(model), digest_size=16).hexdigest()


def load(path: str) -> CalibrationCache:
    """What :func:`save` wrote.

    Raises:
        InvalidDataError: It is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names, lows, highs, exponents, counts, model, samples = (file[field] for field in _STATISTICS_KEYS)
            channels, sizes, peaks, energies, clips = (file[field] for field in _EQUALIZATION_KEYS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidDataError(f"--statistics {path}: no statistics of calibration ({error})") from None
    statistics_fit = lows.shape == highs.shape == (len(samples), len(names))
    statistics_fit &= counts.shape == (len(names), 2 * CELLS_PER_SIDE)
    if not statistics_fit or len(channels) != len(sizes) or not sizes.sum() == len(peaks) == len(energies):
        raise InvalidDataError(f"--statistics {path}: no statistics of calibration (its arrays do not go together)")
    split_points = np.cumsum(sizes)[:-1]
    channel_arrays = zip(np.split(peaks, split_points), np.split(energies, split_points), strict=True) if len(sizes) else ()
    equalization = EqualizationStatistics(dict(zip(channels.tolist(), channel_arrays, strict=True)), bool(clips))
    statistics = Statistics(tuple(names.tolist()), lows, highs, exponents, counts)
    return CalibrationCache(statistics, str(model), tuple(samples.tolist()), equalization)


def save(cache: CalibrationCache, path: str) -> None:
    """Write ``cache`` to ``path``, whole or not at all."""
    seen, channels = cache.statistics, cache.equalization.channels
    sample_hashes = np.array(cache.sample_hashes, str)
    statistics_arrays = (seen.names, seen.lows, seen.highs, seen.exponents, seen.counts, cache.model_hash, sample_hashes)
    sizes = np.array([len(peak) for peak, _ in channels.values()], np.int64)
    peaks, energies = (np.concatenate([np.zeros(0), *(pair[i] for pair in channels.values())]) for i in (0, 1))
    equalization_arrays = (np.array(list(channels), str), sizes, peaks, energies, cache.equalization.include_clips)
    keys, arrays = _STATISTICS_KEYS + _EQUALIZATION_KEYS, statistics_arrays + equalization_arrays
    content = streams.BytesIO()
    named_arrays: dict[str, Any] = dict(zip(keys, map(np.asarray, arrays), strict=True))
    np.savez_compressed(content, **named_arrays)
    target = os.path.abspath(path)
    with open_draft(os.path.dirname(target)) as file:
        file.write(content.getbuffer())
        file.publish(target)


class CacheFiles:
    """The files that a run was given: the first is its own, gone on from where it exists; the others are added to it.

    Args:
        paths: At least one.
        model: What is to be quantised, before it is equalised.

    Raises:
        InvalidDataError: A file is none of statistics, is of another model or was equalised by other data than the rest,
            or two of them share samples.
        UsageError: The first could not be written, or another is missing.
    """

    def __init__(self, paths: Sequence[str], model: ir.Model) -> None:
        self.own_path, *others = paths
        for path in others:
            if not os.path.exists(path):
                raise UsageError(f"--statistics {path}: no such file", hint="only the first is written; others are added")
        folder = os.path.dirname(os.path.abspath(self.own_path))
        if not os.access(folder, os.W_OK):
            raise UsageError(f"--statistics {self.own_path}: cannot be written there")
        self.model_hash, self.caches = hash_model(model), {path: load(path) for path in paths if os.path.exists(path)}
        merged: tuple[str, CalibrationCache] | None = None
        for path, cache in self.caches.items():
            if cache.model_hash != self.model_hash:
                raise InvalidDataError(
                    f"--statistics {path}: of another model", hint="name another file, or delete this one"
                )
            try:
                merged = (path, cache if merged is None else merged[1].merge(cache))
            except InvalidDataError as error:
                merged_path = merged[0] if merged else path
                raise InvalidDataError(f"--statistics {merged_path}, {path}: {error.message}", hint=error.hint) from None

    @property
    def equalization(self) -> EqualizationStatistics | None:
        """What the model was equalised by when they were made; None where there are none yet."""
        return next((cache.equalization for cache in self.caches.values()), None)


class CacheWriter:
    """The statistics of one run: what is known already, what is left, and when to write.

    Args:
        files: What the run was given.
        names: The tensors that are watched.
        digests: Of each run's samples, in order.
        equalization: What the model was equalised by.

    Raises:
        InvalidDataError: A file is of other tensors, or the run's own is of other data.

    Attributes:
        known_statistics: The statistics in the run's own file, or None.
        remaining: The positions in ``digests`` of samples that no file knows, int64.
        extra_count: How many samples, not among ``digests``, other files bring.
    """

    def __init__(
        self, files: CacheFiles, names: Sequence[str], digests: Sequence[bytes], equalization: EqualizationStatistics
    ) -> None:
        self._files, self._equalization, self._last_write = files, equalization, time.monotonic()
        for path, cache in files.caches.items():
            if cache.statistics.names != tuple(names):
                raise InvalidDataError(
                    f"--statistics {path}: of other tensors, as another --target or --exclude leaves them",
                    hint="name another file, or delete this one",
                )
        sample_hashes, own_cache = [digest.hex() for digest in digests], files.caches.get(files.own_path)
        if own_cache is not None and (unknown_samples := Counter(own_cache.sample_hashes) - Counter(sample_hashes)):
            raise InvalidDataError(
                f"--statistics {files.own_path}: of other data; "
                f"{unknown_samples.total()} of its {len(own_cache.sample_hashes)} samples are none of these",
                hint="give the same data, or name a new file first and this one behind it, to be added",
            )
        known_counts = Counter(sample for cache in files.caches.values() for sample in cache.sample_hashes)
        remaining = []
        for index, sample in enumerate(sample_hashes):
            if known_counts[sample]:
                known_counts[sample] -= 1
            else:
                remaining.append(index)
        self.remaining, self.extra_count = np.array(remaining, np.int64), known_counts.total()
        self.known_statistics = None if own_cache is None else own_cache.statistics
        self._other_statistics = [cache.statistics for path, cache in files.caches.items() if path != files.own_path]
        self._sample_hashes = (() if own_cache is None else own_cache.sample_hashes) + tuple(
            sample_hashes[index] for index in remaining
        )

    def is_write_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._last_write > WRITE_INTERVAL

    def write(self, statistics: Statistics) -> None:
        """Write what the run itself has seen so far."""
        cache = CalibrationCache(
            statistics, self._files.model_hash, self._sample_hashes[: statistics.sample_count], self._equalization
        )
        save(cache, self._files.own_path)
        self._last_write = time.monotonic()

    def merge_all(self, statistics: Statistics | None) -> Statistics:
        """The run's own ``statistics`` and those of all other files; None where the run saw nothing itself."""
        return reduce(Statistics.merge, [*([] if statistics is None else [statistics]), *self._other_statistics])
