"""How far a quantised model's outputs are from the float model's, on a few samples: what choices are made by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.quantize.joined import parts
from onnxslim.runtime.parallel import Pool
from onnxslim.runtime.session import SessionConfig

Feeds = Iterable[Mapping[str, np.ndarray]]


class Yardstick:
    """The float model's outputs on some samples, kept to measure candidates against.

    Args:
        model: The float model.
        feeds: Single samples; they are iterated anew for every candidate.
        config: Where to run.
    """

    def __init__(self, model: ir.Model, feeds: Feeds, config: SessionConfig) -> None:
        self._feeds, self._config = feeds, config
        found = {str(value.name): parts(value) for value in model.graph.outputs}
        self._parts = {name: joined for name, joined in found.items() if joined is not None}
        self._wanted = self._outputs(model)
        self._energy = {name: sum(float(np.square(a).sum()) for a in arrays) for name, arrays in self._wanted.items()}

    def error(self, model: ir.Model | Pool, also: Mapping[str, np.ndarray] | None = None) -> float:
        """:meth:`errors` summed: each output, or part of one, weighs the same."""
        return sum(self.errors(model, also).values())

    def errors(self, model: ir.Model | Pool, also: Mapping[str, np.ndarray] | None = None) -> dict[str, float]:
        """‖a − b‖² / ‖a‖² of each float output, by name, and of each part of one that is joined (:mod:`.joined`).

        Outputs whose shape depends on the data count as wholly wrong where the shapes differ.

        Args:
            model: A candidate, or sessions of it.
            also: Inputs that the float model does not have.
        """
        errors = {}
        for name, arrays in self._outputs(model, also).items():
            noise = 0.0
            for wanted, found in zip(self._wanted[name], arrays, strict=True):
                same = wanted.shape == found.shape
                noise += float(np.square(wanted - found).sum()) if same else float(np.square(wanted).sum())
            errors[name] = noise / max(self._energy[name], 1e-30)
        return errors

    def whole(self, errors: Mapping[str, float]) -> dict[str, float]:
        """What :meth:`errors` of the parts come to for each output, by name."""
        inside = {part: name for name, joined in self._parts.items() for part in joined.named(name)}
        noise: dict[str, float] = {}
        signal: dict[str, float] = {}
        for part, error in errors.items():
            name = inside.get(part, part)
            noise[name] = noise.get(name, 0.0) + error * self._energy[part]
            signal[name] = signal.get(name, 0.0) + self._energy[part]
        return {name: total / max(signal[name], 1e-30) for name, total in noise.items()}

    def _outputs(
        self, model: ir.Model | Pool, also: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, list[np.ndarray]]:
        result: dict[str, list[np.ndarray]] = {}

        def floats(index: int, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {
                name: array.astype(np.float64)
                for name, array in found.items()
                if isinstance(array, np.ndarray) and array.dtype.kind == "f"
            }

        pool = model if isinstance(model, Pool) else Pool(model, self._config)
        for found in pool.run(({**feed, **(also or {})} for feed in self._feeds), floats):
            for name, array in found.items():
                joined = self._parts.get(name)
                named = {name: array} if joined is None else dict(zip(joined.named(name), joined.of(array), strict=True))
                for part, piece in named.items():
                    result.setdefault(part, []).append(piece)
        return result
