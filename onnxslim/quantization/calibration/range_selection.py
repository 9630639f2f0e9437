"""Selects the range method of a model by what its outputs lose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.deadline import Pacer
from onnxslim.graph.constants import get_const_array
from onnxslim.quantization.calibration import range_methods
from onnxslim.quantization.calibration.histograms import Statistics
from onnxslim.quantization.calibration.pointwise_readers import evaluate_pointwise_readers
from onnxslim.quantization.calibration.range_methods import Histogram
from onnxslim.quantization.evaluation.simulation import Simulation
from onnxslim.quantization.numerics import affine
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import QuantizationPlan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig


class RangeSelector:
    """Encodings of ``full_plan``'s tensors by each of some methods, compared in one simulated model.

    Args:
        model: The float model.
        full_plan: Everything that may be quantised.
        statistics: Of its tensors.
        options: By which methods, and for which target.
        reference: What outputs are compared with.
        config: Where to run.
    """

    def __init__(
        self,
        model: ir.Model,
        full_plan: QuantizationPlan,
        statistics: Statistics,
        options: QuantizeOptions,
        reference: ReferenceOutputs,
        config: SessionConfig,
    ) -> None:
        self._model, self._full_plan, self._target = model, full_plan, TARGETS[options.target]
        self._reference, self._config = reference, config
        self._groups = full_plan.list_tensor_groups()
        self._histograms = {names[0]: statistics.build_histogram(names) for names in self._groups.values()}
        self._histograms |= self._add_responses()
        methods = range_methods.parse_methods(options.calibration)
        self._encodings = {name: self._compute_encodings(method) for name, method in methods.items()}

    def get_qparams(self, method: str) -> QuantizationParams:
        """The encodings by ``method``."""
        return QuantizationParams(self._encodings[method], reduce_range=self._target.saturating_pairs)

    def measure_errors(self, plan: QuantizationPlan | None = None, pacer: Pacer | None = None) -> dict[str, float]:
        """By method the worst error of an output, or a part of one, of as many as ``pacer`` has time for; {} for one method.

        Args:
            plan: What is quantised; by default everything.
            pacer: Tells whether another method fits; by default all do.
        """
        if len(self._encodings) == 1:
            return {}
        first, reduce_range = next(iter(self._encodings.values())), self._target.saturating_pairs
        plan = plan or self._full_plan
        simulation = Simulation(self._model, plan, first, reduce_range, self._reference, self._config)
        pacer = pacer or Pacer(None)
        errors = {name: simulation.measure_errors(encodings) for name, encodings in self._encodings.items() if pacer.fits()}
        return {name: max(output_errors.values(), default=0.0) for name, output_errors in errors.items()}

    def quantize(self, plan: QuantizationPlan, method: str) -> ir.Model:
        """The model quantised by ``plan`` with encodings by ``method``, weights rounded."""
        return insert_qdq(self._model, plan, self.get_qparams(method))

    def best_methods(self) -> dict[str, str]:
        """What ``least`` took for each group of tensors, by the group's first."""
        return {name: range_methods.choose_method(histogram)[0] for name, histogram in self._histograms.items()}

    def _add_responses(self) -> dict[str, Histogram]:
        """The histograms of what is read through a function; of tensors that share a range each may be read differently."""
        values = {str(value.name): value for unit in self._full_plan.units for value in (*unit.inputs, *unit.outputs)}
        opset = self._model.opset_imports.get("", 1)
        alone = {names[0]: self._histograms[names[0]] for names in self._groups.values() if len(names) == 1}
        responses = {
            name: evaluate_pointwise_readers(values[name], histogram.bin_centers, opset) for name, histogram in alone.items()
        }
        return {name: replace(alone[name], responses=found) for name, found in responses.items() if found is not None}

    def _compute_encodings(self, method: range_methods.RangeMethod) -> dict[str, affine.Encoding]:
        symmetric = self._target.activation_symmetric
        encodings: dict[str, affine.Encoding] = {}
        for names in self._groups.values():
            encoding = affine.compute_activation_encoding(*method(self._histograms[names[0]]), symmetric=symmetric)
            encodings.update(dict.fromkeys(names, encoding))
        values = {str(value.name): value for unit in self._full_plan.units for value in unit.inputs}
        for name in self._full_plan.constants:
            array = get_const_array(values[name])
            assert array is not None, f"{name} is no constant"
            finite = array[np.isfinite(array)]
            low, high = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
            encodings[name] = affine.compute_activation_encoding(low, high, symmetric=symmetric)
        return encodings
