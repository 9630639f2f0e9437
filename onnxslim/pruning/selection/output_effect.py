"""What a change inside a model does to its outputs: the one currency in which the errors of all layers are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import energy, is_float, relative_error, squared_error
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.data.samples import Samples
from onnxslim.pruning.selection.data_dependence import find_comparable_tensors
from onnxslim.runtime.session import SessionConfig


class OutputComparer:
    """The outputs of the original model over a few samples, to which candidates are compared.

    The effect of a candidate is Σ (a - b)² / Σ a² of each floating-point output (1 / SQNR), summed over the outputs;
    a detector's boxes and a classifier's logits are read alike, and an output without floats does not count. Places that
    a mask leaves out are not compared. In place of a list of what was found, which is of another length for each candidate,
    stand the tensors that it is found from (:func:`~onnxslim.pruning.selection.data_dependence.find_comparable_tensors`).
    """

    def __init__(self, model: ir.Model, samples: Samples, config: SessionConfig) -> None:
        self._executor = SegmentExecutor(model, samples, config)
        names = find_comparable_tensors(model.graph) or [str(value.name) for value in model.graph.outputs]
        self._original = [self._select_read(*batch) for batch in self._executor.run_segment(0, names)]
        self._names = [name for name in names if is_float(self._original[0][name])]
        self._position = {str(v.name): position for position, node in enumerate(model.graph) for v in node.outputs}

    def measure_effect(self, candidate: ir.Model, first_node: int) -> float:
        """The effect of ``candidate``, which differs from the original only from node ``first_node`` on.

        Infinite where an output has another shape or is not finite.
        Candidates must come in the order of ``first_node``.
        """
        # an output that is ready before the change begins is not changed, and can no longer be computed from there
        names = [name for name in self._names if self._position.get(name, 0) >= first_node]
        if not names:
            return 0.0
        batches = self._executor.run_segment(first_node, names, model=candidate)
        candidate_outputs = (self._select_read(*batch) for batch in batches)
        noise, signal = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for a, b in zip(self._original, candidate_outputs, strict=True):
            for name in names:
                if a[name].shape != b[name].shape:
                    return math.inf
                noise[name] += squared_error(a[name], b[name])
                signal[name] += energy(a[name])
        total = sum(relative_error(noise[name], signal[name]) for name in names)
        return total if math.isfinite(total) else math.inf

    def _select_read(self, indices: range, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``outputs`` without the places that a mask leaves out, which nobody reads."""
        places = self._executor.read_places
        if places is None:
            return outputs
        return {name: places.select(indices, np.asarray(array)) for name, array in outputs.items()}

    def measure_effects(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[float]:
        """:meth:`measure_effect` of each (candidate, first), as they come."""
        return (self.measure_effect(candidate, first_node) for candidate, first_node in candidates)

    def advance_past(self, positions: Iterable[int]) -> None:
        """Go as far as candidates that differ from ``positions`` on, in rising order, would have led."""
        for position in positions:
            self._executor.advance(position)
