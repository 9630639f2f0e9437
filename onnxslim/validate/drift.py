"""Drift: how the error of a model that feeds its own state back grows along a sequence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from onnxslim.validate.fidelity import Fidelity, decibels

#: Stretches of time that the error is reported for.
STRETCHES = 8
#: An SQNR that falls by so many decibels from the first stretch to the last is a warning.
FALL_DB = 6.0


class Drift:
    """The error of every float output by stretches of time, over all sequences.

    It is told as an SQNR against the output's energy over all of them: an output that falls silent has no energy of its
    own there to be compared with.

    Args:
        longest: Steps of the longest sequence.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.edges = np.unique(np.linspace(0, longest, min(STRETCHES, longest) + 1).astype(int))
        self._found: dict[str, list[Fidelity]] = {}

    def add(self, original: Mapping[str, Any], result: Mapping[str, Any], times: np.ndarray) -> None:
        """Take in the outputs of some steps, a row each; ``times`` are their places, from 0, shape (n,)."""
        places = np.searchsorted(self.edges, times, side="right") - 1
        for name, theirs in original.items():
            if isinstance(theirs, np.ndarray) and theirs.dtype.kind == "f":
                stretches = self._found.setdefault(name, [Fidelity() for _ in self.edges[1:]])
                for place in np.unique(places):
                    whose = slice(None) if len(times) == 1 else places == place
                    stretches[place].add(theirs[whose], result[name][whose])

    def as_json(self, name: str) -> list[dict[str, Any]]:
        """Output ``name`` in time: steps ``first`` to ``last``, both counted in, and its SQNR (null: no error)."""
        levels = self._levels(name) if name in self._found else []
        return [
            {"first": int(low), "last": int(high) - 1, "sqnr_db": level if math.isfinite(level) else None}
            for low, high, level in zip(self.edges, self.edges[1:], levels, strict=False)
        ]

    def _levels(self, name: str) -> list[float]:
        """Decibels of each stretch."""
        stretches = self._found[name]
        energy = sum(f.signal for f in stretches) / max(1, sum(f.elements for f in stretches))
        return [-math.inf if f.broken else decibels(energy, f.noise / max(1, f.elements)) for f in stretches]

    def warnings(self) -> Iterator[str]:
        """One line for each output whose error grows along the sequences."""
        for name in self._found:
            levels = self._levels(name)
            begin, end = levels[0], levels[-1]
            if begin - end > FALL_DB:
                yield (
                    f"output {name} drifts: {begin:.1f} dB over steps 0 to {self.edges[1] - 1}, {end:.1f} dB over steps "
                    f"{self.edges[-2]} to {self.edges[-1] - 1} of the sequences"
                )
