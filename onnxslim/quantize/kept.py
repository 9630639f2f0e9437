"""Statistics in files: written while they are taken, gone on from after an interruption, added up, never mixed up.

One ``.npz`` a run: the arrays of :class:`~onnxslim.quantize.statistics.Statistics`, a hash of the model, weights and all,
what it was equalised by, and a hash of each sample. Files of parts of the data that were taken on one model, equalised
alike, add up to exactly the file of the whole.
"""

from __future__ import annotations

import hashlib
import io as streams
import os
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.errors import InvalidDataError, UsageError
from onnxslim.files.atomic import draft
from onnxslim.quantize.basis import Basis
from onnxslim.quantize.statistics import CELLS, Statistics

#: Seconds between two writes.
PAUSE = 10.0
_FIELDS = ("names", "lows", "highs", "exponents", "counts", "model", "samples")
_BASIS = ("basis_names", "basis_sizes", "basis_peaks", "basis_energies", "basis_clips")


@dataclass(frozen=True)
class Kept:
    """Statistics, and what they are of.

    Attributes:
        statistics: They.
        model: The hash of the model before it was equalised (:func:`fingerprint`).
        samples: Each sample's, in the order they were seen.
        basis: What the model was equalised by.
    """

    statistics: Statistics
    model: str
    samples: tuple[str, ...]
    basis: Basis

    def merge(self, later: Kept) -> Kept:
        """Both, as one run over these samples and then ``later``'s would have left them.

        Raises:
            InvalidDataError: They are of different models, were equalised by different data, or share a sample.
        """
        if self.model != later.model or self.statistics.names != later.statistics.names:
            raise InvalidDataError("the statistics are of different models")
        if self.basis != later.basis:
            raise InvalidDataError(
                "the statistics are of one model, equalised by different data",
                hint="a later part's run must read an earlier part's file too: --statistics LATER --statistics EARLIER",
            )
        if shared := set(self.samples) & set(later.samples):
            raise InvalidDataError(f"{len(shared)} samples are in both statistics")
        return Kept(self.statistics.merge(later.statistics), self.model, self.samples + later.samples, self.basis)


def fingerprint(model: ir.Model) -> str:
    """A hash of ``model``, weights and all, in hexadecimal digits."""
    return hashlib.blake2b(io.to_bytes(model), digest_size=16).hexdigest()


def load(path: str) -> Kept:
    """What :func:`save` wrote.

    Raises:
        InvalidDataError: It is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names, lows, highs, exponents, counts, model, samples = (file[field] for field in _FIELDS)
            channels, sizes, peaks, energies, clips = (file[field] for field in _BASIS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidDataError(f"--statistics {path}: no statistics of calibration ({error})") from None
    tensors, seen = len(names), len(samples)
    grids = lows.shape == highs.shape == (seen, tensors) and counts.shape == (tensors, 2 * CELLS)
    if not grids or not len(channels) == len(sizes) or not sizes.sum() == len(peaks) == len(energies):
        raise InvalidDataError(f"--statistics {path}: no statistics of calibration (its arrays do not go together)")
    ends = np.cumsum(sizes)[:-1]
    parts = zip(np.split(peaks, ends), np.split(energies, ends), strict=True) if len(sizes) else ()
    basis = Basis(dict(zip(channels.tolist(), parts, strict=True)), bool(clips))
    found = Statistics(tuple(names.tolist()), lows, highs, exponents, counts)
    return Kept(found, str(model), tuple(samples.tolist()), basis)


def save(kept: Kept, path: str) -> None:
    """Write ``kept`` to ``path``, whole or not at all."""
    s, channels = kept.statistics, kept.basis.channels
    none = np.zeros(0)
    values = (np.array(s.names), s.lows, s.highs, s.exponents, s.counts, np.array(kept.model), np.array(kept.samples, str))
    arrays: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    sizes = np.array([len(peak) for peak, _ in channels.values()], np.int64)
    peaks, energies = (np.concatenate([none, *(one[i] for one in channels.values())]) for i in (0, 1))
    basis = (np.array(list(channels), str), sizes, peaks, energies, np.array(kept.basis.clips))
    arrays.update(zip(_BASIS, basis, strict=True))
    content = streams.BytesIO()
    np.savez_compressed(content, **arrays)
    target = os.path.abspath(path)
    with draft(os.path.dirname(target)) as file:
        file.write(content.getbuffer())
        file.publish(target)


class Files:
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
        self.path, *others = paths
        for path in others:
            if not os.path.exists(path):
                raise UsageError(f"--statistics {path}: no such file", hint="only the first is written; others are added")
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.access(folder, os.W_OK):
            raise UsageError(f"--statistics {self.path}: cannot be written there")
        self.model, self.found = fingerprint(model), {path: load(path) for path in paths if os.path.exists(path)}
        merged: tuple[str, Kept] | None = None
        for path, kept in self.found.items():
            if kept.model != self.model:
                raise InvalidDataError(
                    f"--statistics {path}: of another model", hint="name another file, or delete this one"
                )
            try:
                merged = (path, kept if merged is None else merged[1].merge(kept))
            except InvalidDataError as error:
                first = merged[0] if merged else path
                raise InvalidDataError(f"--statistics {first}, {path}: {error.message}", hint=error.hint) from None

    @property
    def basis(self) -> Basis | None:
        """What the model was equalised by when they were made; None where there are none yet."""
        return next((kept.basis for kept in self.found.values()), None)


class Keeper:
    """The statistics of one run: what is known already, what is left, and when to write.

    Args:
        files: What the run was given.
        names: The tensors that are watched.
        digests: Of each run's samples, in order.
        basis: What the model was equalised by.

    Raises:
        InvalidDataError: A file is of other tensors, or the run's own is of other data.

    Attributes:
        start: What the run's own file knows, or None.
        left: The positions in ``digests`` of samples that no file knows, int64.
        added: How many samples, not among ``digests``, other files bring.
    """

    def __init__(self, files: Files, names: Sequence[str], digests: Sequence[bytes], basis: Basis) -> None:
        self._files, self._basis, self._written = files, basis, time.monotonic()
        for path, kept in files.found.items():
            if kept.statistics.names != tuple(names):
                raise InvalidDataError(
                    f"--statistics {path}: of other tensors, as another --target or --exclude leaves them",
                    hint="name another file, or delete this one",
                )
        samples, own = [digest.hex() for digest in digests], files.found.get(files.path)
        if own is not None and (strange := Counter(own.samples) - Counter(samples)):
            raise InvalidDataError(
                f"--statistics {files.path}: of other data; {strange.total()} of its {len(own.samples)} samples are none of "
                "these",
                hint="give the same data, or name a new file first and this one behind it, to be added",
            )
        known = Counter(sample for kept in files.found.values() for sample in kept.samples)
        left = []
        for index, sample in enumerate(samples):
            if known[sample]:
                known[sample] -= 1
            else:
                left.append(index)
        self.left, self.added = np.array(left, np.int64), known.total()
        self.start = None if own is None else own.statistics
        self._others = [kept.statistics for path, kept in files.found.items() if path != files.path]
        self._samples = (() if own is None else own.samples) + tuple(samples[index] for index in left)

    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written > PAUSE

    def write(self, statistics: Statistics) -> None:
        """Write what the run itself has seen so far."""
        kept = Kept(statistics, self._files.model, self._samples[: statistics.samples], self._basis)
        save(kept, self._files.path)
        self._written = time.monotonic()

    def whole(self, statistics: Statistics | None) -> Statistics:
        """The run's own ``statistics`` and those of all other files; None where the run saw nothing itself."""
        return reduce(Statistics.merge, [*([] if statistics is None else [statistics]), *self._others])
