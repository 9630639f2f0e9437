"""What a change inside a model does to its outputs: the one currency in which the errors of all layers are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.prune.walk import Walk
from onnxslim.runtime.session import SessionConfig


class Outputs:
    """The outputs of the original model over a few samples, to which candidates are compared.

    The effect of a candidate is Σ (a - b)² / Σ a² of each floating-point output (1 / SQNR), summed over the outputs;
    a detector's boxes and a classifier's logits are read alike, and an output without floats does not count.
    """

    def __init__(self, model: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self._walk = Walk(model, samples, config)
        names = [str(value.name) for value in model.graph.outputs]
        self._original = [found for _, found in self._walk.visit(0, names)]
        self._names = [name for name in names if _is_float(self._original[0][name])]

    def effect(self, candidate: ir.Model, first: int) -> float:
        """The effect of ``candidate``, which differs from the original only from node ``first`` on.

        Candidates must come in the order of ``first``.
        """
        found = (outputs for _, outputs in self._walk.visit(first, self._names, model=candidate))
        return difference(self._original, found, self._names)


    def effects(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[float]:
        """:meth:`effect` of each (candidate, first), as they come."""
        return (self.effect(candidate, first) for candidate, first in candidates)

    def pass_by(self, places: Iterable[int]) -> None:
        """Go as far as candidates that differ from ``places`` on, in rising order, would have led."""
        for place in places:
            self._walk.advance(place)


def difference(
    original: Iterable[dict[str, np.ndarray]], other: Iterable[dict[str, np.ndarray]], names: Sequence[str]
) -> float:
    """Σ (a - b)² / Σ a² over batches, summed over the outputs called ``names``; infinite where b is not finite."""
    noise = dict.fromkeys(names, 0.0)
    signal = dict.fromkeys(names, 0.0)
    for a, b in zip(original, other, strict=True):
        for name in names:
            if a[name].shape != b[name].shape:
                return float("inf")
            exact = a[name].astype(np.float64)
            noise[name] += float(np.sum((exact - b[name]) ** 2))
            signal[name] += float(np.sum(exact**2))
    total = sum(noise[name] / max(signal[name], 1e-30) for name in names)
    return total if np.isfinite(total) else float("inf")


def _is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"
