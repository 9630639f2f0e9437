"""How far a quantised model's outputs are from the float model's, on a few samples: the error that choices are made by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.quantization.evaluation.output_parts import find_output_parts
from onnxslim.runtime.parallel import SessionPool
from onnxslim.runtime.session import SessionConfig

FeedIterable = Iterable[Mapping[str, np.ndarray]]


class ReferenceOutputs:
    """The float model's outputs on some samples, kept to measure candidates against.

    Args:
        model: The float model.
        feeds: Single samples; they are iterated anew for every candidate.
        config: Where to run.
    """

    def __init__(self, model: ir.Model, feeds: FeedIterable, config: SessionConfig) -> None:
        self._feeds, self._config = feeds, config
        output_parts = {str(value.name): find_output_parts(value) for value in model.graph.outputs}
        self._parts = {name: joined for name, joined in output_parts.items() if joined is not None}
        self._reference = self._run(model)
        self._energy = {name: sum(float(np.square(a).sum()) for a in arrays) for name, arrays in self._reference.items()}

    def error(self, model: ir.Model | SessionPool, extra_inputs: Mapping[str, np.ndarray] | None = None) -> float:
        """:meth:`errors` summed: each output, or part of one, weighs the same."""
        return sum(self.errors(model, extra_inputs).values())

    def errors(
        self, model: ir.Model | SessionPool, extra_inputs: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, float]:
        """‖a − b‖² / ‖a‖² of each float output, by name, and of each part of one that is joined (:mod:`.joined`).

        Outputs whose shape depends on the data count as wholly wrong where the shapes differ.

        Args:
            model: A candidate, or sessions of it.
            extra_inputs: Inputs that the float model does not have.
        """
        errors = {}
        for name, arrays in self._run(model, extra_inputs).items():
            noise = 0.0
            for expected, actual in zip(self._reference[name], arrays, strict=True):
                same = expected.shape == actual.shape
                noise += float(np.square(expected - actual).sum()) if same else float(np.square(expected).sum())
            errors[name] = noise / max(self._energy[name], 1e-30)
        return errors

    def merge_parts(self, errors: Mapping[str, float]) -> dict[str, float]:
        """What :meth:`errors` of the parts come to for each output, by name."""
        output_of_part = {part: name for name, joined in self._parts.items() for part in joined.name_parts(name)}
        noise: dict[str, float] = {}
        signal: dict[str, float] = {}
        for part, error in errors.items():
            name = output_of_part.get(part, part)
            noise[name] = noise.get(name, 0.0) + error * self._energy[part]
            signal[name] = signal.get(name, 0.0) + self._energy[part]
        return {name: total / max(signal[name], 1e-30) for name, total in noise.items()}

    def _run(
        self, model: ir.Model | SessionPool, extra_inputs: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, list[np.ndarray]]:
        result: dict[str, list[np.ndarray]] = {}

        def select_floats(index: int, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {
                name: array.astype(np.float64)
                for name, array in outputs.items()
                if isinstance(array, np.ndarray) and array.dtype.kind == "f"
            }

        pool = model if isinstance(model, SessionPool) else SessionPool(model, self._config)
        for outputs in pool.run(({**feed, **(extra_inputs or {})} for feed in self._feeds), select_floats):
            for name, array in outputs.items():
                joined = self._parts.get(name)
                pieces = (
                    {name: array} if joined is None else dict(zip(joined.name_parts(name), joined.split(array), strict=True))
                )
                for part, piece in pieces.items():
                    result.setdefault(part, []).append(piece)
        return result
