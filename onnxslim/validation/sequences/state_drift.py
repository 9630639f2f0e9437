"""Drift: how the error of a model that feeds its own state back grows along a sequence."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from onnxslim.activations.output_error import compute_sqnr_db, is_float
from onnxslim.core.converter import JSON
from onnxslim.validation.output_fidelity import OutputFidelity

#: A sequence is divided into at most so many bins of time steps, and the error reported for each.
MAX_TIME_BINS = 8
#: An SQNR that falls by so many decibels from the first stretch to the last is a warning.
MAX_DRIFT_DB = 6.0
#: What stays above this to the end is no warning, however it grows: an error of a thousandth of the output, a tenth of what
#: outputs may lose that are judged as numbers (40 dB), so that ten times as many steps do not bring it there either.
MAX_TOLD_DB = 60.0


class StateDrift:
    """The error of every float output by stretches of time, over all sequences.

    It is told as an SQNR against the output's energy over all of them: an output that falls silent has no energy of its
    own there to be compared with.
    """

    def __init__(self, longest_sequence: int) -> None:
        self.longest_sequence = longest_sequence
        self.edges = np.unique(np.linspace(0, longest_sequence, min(MAX_TIME_BINS, longest_sequence) + 1).astype(int))
        self._fidelities: dict[str, list[OutputFidelity]] = {}

    def add(self, original: Mapping[str, Any], result: Mapping[str, Any], times: np.ndarray) -> None:
        """Take in the outputs of some steps, a row each; ``times`` are their places, from 0, shape (n,)."""
        bins = np.searchsorted(self.edges, times, side="right") - 1
        for name, original_values in original.items():
            if is_float(original_values):
                time_bins = self._fidelities.setdefault(name, [OutputFidelity() for _ in self.edges[1:]])
                for bin_index in np.unique(bins):
                    steps = slice(None) if len(times) == 1 else bins == bin_index
                    time_bins[bin_index].add(original_values[steps], result[name][steps])

    def as_json(self, name: str) -> list[dict[str, Any]]:
        """Output ``name`` in time: steps ``first`` to ``last``, both counted in, and its SQNR (null: no error)."""
        levels = self._get_sqnr_db(name) if name in self._fidelities else []
        return [
            {"first": int(low), "last": int(high) - 1, "sqnr_db": JSON.unstructure(level)}
            for low, high, level in zip(self.edges, self.edges[1:], levels, strict=False)
        ]

    def _get_sqnr_db(self, name: str) -> list[float]:
        """Decibels of each stretch."""
        time_bins = self._fidelities[name]
        energy = sum(f.signal_energy for f in time_bins) / max(1, sum(f.elements for f in time_bins))
        return [
            -math.inf if f.nonfinite_elements else compute_sqnr_db(energy, f.noise_energy / max(1, f.elements))
            for f in time_bins
        ]

    def warnings(self, names: Collection[str]) -> Iterator[str]:
        """One line for each output of ``names`` whose error grows along the sequences, and shows at their end.

        What is judged is worth one; a state that drifts, and no output does that is made of it, changes nothing.
        """
        for name in filter(names.__contains__, self._fidelities):
            levels = self._get_sqnr_db(name)
            begin, end = levels[0], levels[-1]
            if begin - end > MAX_DRIFT_DB and end < MAX_TOLD_DB:
                first, last = f"0 to {self.edges[1] - 1}", f"{self.edges[-2]} to {self.edges[-1] - 1} of the sequences"
                start = "equal" if begin == math.inf else f"{begin:.1f} dB"
                yield (
                    f"output {name} drifts: {start} over steps {first}, {end:.1f} dB over steps {last}; longer ones may "
                    "lose more: judge by sequences as long as those that are served"
                )
