"""What a change inside a model does to its outputs: the one currency in which the errors of all layers are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.data.samples import Samples
from onnxslim.runtime.session import SessionConfig


class OutputComparer:
    """The outputs of the original model over a few samples, to which candidates are compared.

    The effect of a candidate is Σ (a - b)² / Σ a² of each floating-point output (1 / SQNR), summed over the outputs;
    a detector's boxes and a classifier's logits are read alike, and an output without floats does not count.
    """

    def __init__(self, model: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self._executor = SegmentExecutor(model, samples, config)
        names = [str(value.name) for value in model.graph.outputs]
        self._original = [outputs for _, outputs in self._executor.run_segment(0, names)]
        self._names = [name for name in names if _is_float(self._original[0][name])]

    def measure_effect(self, candidate: ir.Model, first_node: int) -> float:
        """The effect of ``candidate``, which differs from the original only from node ``first_node`` on.

        Candidates must come in the order of ``first_node``.
        """
        candidate_outputs = (outputs for _, outputs in self._executor.run_segment(first_node, self._names, model=candidate))
        return relative_error(self._original, candidate_outputs, self._names)

    def measure_effects(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[float]:
        """:meth:`measure_effect` of each (candidate, first), as they come."""
        return (self.measure_effect(candidate, first_node) for candidate, first_node in candidates)

    def advance_past(self, positions: Iterable[int]) -> None:
        """Go as far as candidates that differ from ``positions`` on, in rising order, would have led."""
        for position in positions:
            self._executor.advance(position)


def relative_error(
    original: Iterable[dict[str, np.ndarray]], other: Iterable[dict[str, np.ndarray]], names: Sequence[str]
) -> float:
    """Σ (a - b)² / Σ a² over batches, summed over the outputs called ``names``; infinite where b is not finite."""
    noise = dict.fromkeys(names, 0.0)
    signal = dict.fromkeys(names, 0.0)
    for a, b in zip(original, other, strict=True):
        for name in names:
            if a[name].shape != b[name].shape:
                return float("inf")
            reference = a[name].astype(np.float64)
            noise[name] += float(np.sum((reference - b[name]) ** 2))
            signal[name] += float(np.sum(reference**2))
    total = sum(noise[name] / max(signal[name], 1e-30) for name in names)
    return total if np.isfinite(total) else float("inf")


def _is_float(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"
