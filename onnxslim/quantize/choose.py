"""Which range method a model gets, and which tensors it cannot afford to quantise: both by what its outputs lose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxslim.quantize import calibrate, encode, ranges
from onnxslim.quantize.blame import costliest
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, written
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

    def choices(self, method: str) -> Choices:
        """The encodings by ``method``."""
        return Choices(self._encodings[method], narrow=self._target.saturating_pairs)

    def errors(self, plan: Plan | None = None) -> dict[str, float]:
        """By method the worst error of an output, or a part of one; {} for one method.

        Args:
            plan: What is quantised; by default everything.
        """
        if len(self._encodings) == 1:
            return {}
        first, narrow = next(iter(self._encodings.values())), self._target.saturating_pairs
        plan = plan or self._widest
        simulation = Simulation(self._model, plan, first, narrow, self._yardstick, self._config)
        errors = {name: simulation.errors(encodings) for name, encodings in self._encodings.items()}
        return {name: max(found.values(), default=0.0) for name, found in errors.items()}

    def spared(self, found: Sequence[Unit], int8: frozenset[str], method: str) -> Iterator[tuple[frozenset[str], float]]:
        """Growing sets of ``int8`` to leave in float, none and then the costliest first, and the worst output's error."""
        groups = self._widest.groups()

        def left(keys: Collection[str]) -> frozenset[str]:
            spared = {name for key in keys for name in groups[key]}
            touching = {
                unit.name for unit in found if any(str(v.name) in spared for v in (*unit.inputs, *unit.outputs))
            }
            return int8 - touching

        def error(keys: frozenset[str]) -> float:
            quantised = written(self._model, make_plan(found, left(keys)), self.choices(method))
            return max(self._yardstick.whole(self._yardstick.errors(quantised)).values(), default=0.0)

        for keys in costliest(list(groups), error):
            yield int8 - left(keys), error(keys)

    def by_tensor(self) -> dict[str, str]:
        """What ``least`` took for each group of tensors, by the group's first."""
        return {name: ranges.best_of(histogram)[0] for name, histogram in self._histograms.items()}

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
