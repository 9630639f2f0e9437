"""Which range method a model gets, and which tensors it cannot afford to quantise: both by what its outputs lose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxslim.quantize import calibrate, encode, ranges
from onnxslim.quantize.blame import costliest
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices
from onnxslim.quantize.plan import Plan, Unit, make_plan
from onnxslim.quantize.simulate import Simulation
from onnxslim.quantize.statistics import Statistics
from onnxslim.quantize.targets import Target
from onnxslim.runtime.session import SessionConfig

Encodings = dict[str, encode.Encoding]


class Chooser:
    """Encodings of ``widest``'s tensors by each of some methods, compared in one simulated model.

    Args:
        model: The float model.
        widest: Everything that may be quantised.
        statistics: Of its tensors.
        methods: By name.
        target: What it is quantised for.
        yardstick: What outputs are compared by.
        config: Where to run.
    """

    def __init__(
        self,
        model: ir.Model,
        widest: Plan,
        statistics: Statistics,
        methods: Mapping[str, ranges.Method],
        target: Target,
        yardstick: Yardstick,
        config: SessionConfig,
    ) -> None:
        self._model, self._widest, self._target = model, widest, target
        self._yardstick, self._config = yardstick, config
        self._histograms = {names[0]: statistics.histogram(names) for names in widest.groups().values()}
        self._encodings = {name: self._by(method, self._histograms) for name, method in methods.items()}
        self._simulation: Simulation | None = None

    def choices(self, method: str) -> Choices:
        """The encodings by ``method``."""
        return Choices(self._encodings[method], narrow=self._target.saturating_pairs)

    def errors(self, tensors: Collection[str] | None = None) -> dict[str, float]:
        """By method the worst error of an output, or a part of one; {} for one method.

        Args:
            tensors: What alone is quantised; by default everything.
        """
        if len(self._encodings) == 1:
            return {}
        return {name: max(self._errors(name, tensors).values(), default=0.0) for name in self._encodings}

    def spared(self, found: Sequence[Unit], able: frozenset[str], method: str) -> Iterator[tuple[frozenset[str], float]]:
        """Growing sets of units to leave in float, the costliest first, and the worst output's error without them."""
        groups = self._widest.groups()

        def left(keys: Collection[str]) -> frozenset[str]:
            spared = {name for key in keys for name in groups[key]}
            touching = {
                unit.name for unit in found if any(str(v.name) in spared for v in (*unit.inputs, *unit.outputs))
            }
            return able - touching

        def error(keys: frozenset[str]) -> float:
            errors = self._errors(method, make_plan(found, left(keys)).tensors)
            return max(self._yardstick.whole(errors).values(), default=0.0)

        for keys in costliest(list(groups), error):
            yield able - left(keys), error(keys)

    def by_tensor(self) -> dict[str, str]:
        """What ``least`` took for each group of tensors, by the group's first."""
        return {name: ranges.best_of(histogram)[0] for name, histogram in self._histograms.items()}

    def release(self) -> None:
        """Let the simulated model go; it is made again when needed."""
        self._simulation = None

    def _errors(self, method: str, tensors: Collection[str] | None) -> dict[str, float]:
        switched = tensors is not None
        if self._simulation is None or self._simulation.switched != switched:
            first, narrow = next(iter(self._encodings.values())), self._target.saturating_pairs
            self._simulation = Simulation(
                self._model, self._widest, first, narrow, self._yardstick, self._config, switched=switched
            )
        return self._simulation.errors(self._encodings[method], tensors)

    def _by(self, method: ranges.Method, histograms: Mapping[str, ranges.Histogram]) -> Encodings:
        symmetric = self._target.activation_symmetric
        found: Encodings = {}
        for names in self._widest.groups().values():
            encoding = encode.activation(*method(histograms[names[0]]), symmetric=symmetric)
            found.update(dict.fromkeys(names, encoding))
        values = {str(value.name): value for unit in self._widest.units for value in unit.inputs}
        for name in self._widest.constants:
            histogram = calibrate.constant_histogram(values[name])
            found[name] = encode.activation(histogram.low, histogram.high, symmetric=symmetric)
        return found
