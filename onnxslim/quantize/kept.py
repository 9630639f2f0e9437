"""Statistics in a file: written while they are taken, gone on from after an interruption, never mixed up.

One ``.npz``: the arrays of :class:`~onnxslim.quantize.statistics.Statistics`, a hash of the model they were taken on (after
equalisation, weights and all) and a hash of each sample. Files of shards that were taken on one model add up.
"""

from __future__ import annotations

import hashlib
import io as streams
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.errors import InvalidDataError, UsageError
from onnxslim.files.atomic import draft
from onnxslim.quantize.statistics import CELLS, Statistics

#: Seconds between two writes.
PAUSE = 10.0
_FIELDS = ("names", "lows", "highs", "exponents", "counts", "model", "samples")


@dataclass(frozen=True)
class Kept:
    """Statistics, and what they are of: the model's hash and each sample's, as hexadecimal digits."""

    statistics: Statistics
    model: str
    samples: tuple[str, ...]

    def merge(self, later: Kept) -> Kept:
        """Both, as one run over these samples and then ``later``'s would have left them.

        Raises:
            InvalidDataError: They are of different models, or share a sample.
        """
        if self.model != later.model or self.statistics.names != later.statistics.names:
            raise InvalidDataError("the statistics are of different models")
        if shared := set(self.samples) & set(later.samples):
            raise InvalidDataError(f"{len(shared)} samples are in both statistics")
        return Kept(self.statistics.merge(later.statistics), self.model, self.samples + later.samples)


def load(path: str) -> Kept:
    """What :func:`save` wrote.

    Raises:
        InvalidDataError: It is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names, lows, highs, exponents, counts, model, samples = (file[field] for field in _FIELDS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidDataError(f"--statistics {path}: no statistics of calibration ({error})") from None
    tensors, seen = len(names), len(samples)
    if lows.shape != (seen, tensors) or highs.shape != lows.shape or counts.shape != (tensors, 2 * CELLS):
        raise InvalidDataError(f"--statistics {path}: no statistics of calibration (its arrays do not go together)")
    found = Statistics(tuple(names.tolist()), lows, highs, exponents, counts)
    return Kept(found, str(model), tuple(samples.tolist()))


def save(kept: Kept, path: str) -> None:
    """Write ``kept`` to ``path``, whole or not at all."""
    s = kept.statistics
    values = (np.array(s.names), s.lows, s.highs, s.exponents, s.counts, np.array(kept.model), np.array(kept.samples))
    arrays: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
    content = streams.BytesIO()
    np.savez_compressed(content, **arrays)
    target = os.path.abspath(path)
    with draft(os.path.dirname(target)) as file:
        file.write(content.getbuffer())
        file.publish(target)


class Keeper:
    """The file of one run: what can be gone on from, and when to write.

    Args:
        path: The file; it need not exist.
        model: What the statistics are taken on.
        names: Its watched tensors.
        digests: Of each run's samples, in order.

    Raises:
        InvalidDataError: The file is of another model or of other data.
        UsageError: It could not be written.
    """

    def __init__(self, path: str, model: ir.Model, names: Sequence[str], digests: Sequence[bytes]) -> None:
        self._path, self._written = path, time.monotonic()
        self._model = hashlib.blake2b(io.to_bytes(model), digest_size=16).hexdigest()
        self._samples = tuple(digest.hex() for digest in digests)
        self.start: Statistics | None = None
        if not os.path.exists(path):
            folder = os.path.dirname(os.path.abspath(path))
            if not os.access(folder, os.W_OK):
                raise UsageError(f"--statistics {path}: cannot be written there")
            return
        found = load(path)
        if found.model != self._model or found.statistics.names != tuple(names):
            raise InvalidDataError(
                f"--statistics {path}: of another model (or of the same, equalised on other data)",
                hint="name another file, or delete this one",
            )
        if found.samples != self._samples[: len(found.samples)]:
            raise InvalidDataError(
                f"--statistics {path}: of other data; its {len(found.samples)} samples are not the first of these",
                hint="give the same data in the same order, or name another file",
            )
        self.start = found.statistics

    @property
    def done(self) -> int:
        """How many runs the file covers."""
        return 0 if self.start is None else self.start.samples

    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._written > PAUSE

    def write(self, statistics: Statistics) -> None:
        """Write what is known so far."""
        save(Kept(statistics, self._model, self._samples[: statistics.samples]), self._path)
        self._written = time.monotonic()
