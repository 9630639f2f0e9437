"""The linear layers of one placement written in dynamic int8, with their inputs smoothed where the outputs gain by it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.conformance.placement_costs import get_cost_model
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.dynamic.layer_error import ObservedActivation
from onnxslim.quantization.dynamic.lstm import find_lstm_layers, write_lstms
from onnxslim.quantization.dynamic.lstm_choice import LstmChoice, estimate_lstm_time
from onnxslim.quantization.dynamic.rewrite import RewrittenLayer, write_dynamic
from onnxslim.quantization.dynamic.skip_layernorm_guard import replace_adds_with_sums
from onnxslim.quantization.dynamic.smoothquant import Smoothing, apply_smoothings, choose_smoothings
from onnxslim.quantization.evaluation.group_losses import measure_group_losses
from onnxslim.quantization.float_weights import Variant, make_variants
from onnxslim.quantization.linear_layers import WeightMatrix, find_same_weights
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups
from onnxslim.quantization.qdq.placement import estimate_unit_times
from onnxslim.quantization.qdq.placement_front import IndependentGroup, Placement, rank_front, remeasure_front
from onnxslim.quantization.targets.registry import TARGETS

#: The error of the outputs that smoothing must get below, relative to doing without, to be kept.
MAX_SMOOTHING_ERROR_RATIO = 0.95
#: Gains in dB from which on activations are smoothed, each tried on the outputs: a layer's own error is a poor judge of
#: what its neighbours make of it, and the smallest gains do the most harm.
MIN_SMOOTHING_GAINS_DB = (0.0, 4.0, 6.0)


@dataclass(frozen=True)
class BuiltLayers:
    """Layers in dynamic int8.

    Attributes:
        variants: The models, the smaller first.
        written: The layers and tables that were rewritten.
        smoothings: What was smoothed.
        smoothing_errors: What the outputs lose with each set of smoothings that was tried.
        num_sums: Residual sums that were kept apart from LayerNormalization.
    """

    variants: Sequence[Variant]
    written: Sequence[RewrittenLayer]
    smoothings: Sequence[Smoothing]
    smoothing_errors: Mapping[str, float]
    num_sums: int


class DynamicBuilder:
    """Builds placements of one model.

    Args:
        model: The float model.
        weights: What can be int8.
        observations: The layers' inputs, by tensor.
        lstm_choices: What becomes of its LSTM layers, by name.
        feeds: Samples that results are judged on.
        loss_feeds: Samples that what a layer loses alone is measured on.
        context: Where to run.
        options: With nothing left to choose but placement.
    """

    def __init__(
        self,
        model: ir.Model,
        weights: Sequence[WeightMatrix],
        observations: Mapping[str, ObservedActivation],
        lstm_choices: Mapping[str, LstmChoice],
        feeds: Sequence[Mapping[str, np.ndarray]],
        loss_feeds: Sequence[Mapping[str, np.ndarray]],
        *,
        context: QuantizeContext,
        options: QuantizeOptions,
    ) -> None:
        self._model, self._weights, self._observations = model, weights, observations
        self._feeds, self._loss_feeds, self._context, self._options = feeds, loss_feeds, context, options
        self._lstm_forms = {name: choice.form for name, choice in lstm_choices.items() if choice.why_float is None}
        self._float_lstms = lstm_choices.keys() - self._lstm_forms.keys()
        self._target = TARGETS[options.target]

    @cached_property
    def reference(self) -> ReferenceOutputs:
        """The float model's outputs on the samples that results are judged on."""
        return ReferenceOutputs(self._model, self._feeds, self._context.config)

    @property
    def all_units(self) -> frozenset[str]:
        """The LSTM layers, and the readers of every weight, that can be int8."""
        return frozenset(self._lstm_forms).union(*(weight.reader_names for weight in self._weights))

    def build(self, int8: frozenset[str], *, is_first: bool = True) -> BuiltLayers:
        """The units ``int8`` in int8."""
        best, written = self._write(int8)
        candidates = choose_smoothings(self._select_weights(int8), self._observations)
        best_errors = self.reference.errors(best)
        plain_error, kept = sum(best_errors.values()), list[Smoothing]()
        tried = {"nothing": plain_error} if candidates else {}
        for min_gain_db in MIN_SMOOTHING_GAINS_DB:
            chosen = [smoothing for smoothing in candidates if smoothing.gain_db >= min_gain_db]
            # each set is a part of the one before, so one of the same size is the same
            label = f"{len(chosen)} activations"
            if not chosen or label in tried:
                continue
            smoothed, layers = self._write(int8, chosen)
            errors = self.reference.errors(smoothed)
            error = tried[label] = sum(errors.values())
            if error < min(sum(best_errors.values()), MAX_SMOOTHING_ERROR_RATIO * plain_error):
                best, written, best_errors, kept = smoothed, layers, errors, chosen
        num_sums = replace_adds_with_sums(best)
        variants = make_variants(best, self.reference, best_errors, self._target, self._options)
        return BuiltLayers(variants, written, kept, tried, num_sums)

    def walk_front(self, fastest: frozenset[str], reserve: float) -> list[Placement]:
        """Placements from ``fastest`` to the mildest, each layer's loss measured alone; ``reserve`` seconds are left."""
        reference = ReferenceOutputs(self._model, self._loss_feeds, self._context.config)

        fits = self._context.pace(reserve).fits

        def measure(names: Collection[str]) -> float:
            return reference.error(self._write(names)[0])

        linears = [linear.name for weight in self._weights for linear in weight.linear_layers]
        layers = [name for name in (*self._lstm_forms, *linears) if name in fastest]
        losses = measure_group_losses(layers, lambda names: measure(self._add_tied(names)), fits)
        float_time, groups = self._make_groups(losses)
        tables = fastest.difference(*(group.names for group in groups))
        return remeasure_front(rank_front(groups, tables, float_time), measure, fits)

    def list_float_units(self, int8: frozenset[str]) -> tuple[str, ...]:
        """What has to be named for ``int8`` to be built again."""
        return tuple(sorted(self._float_lstms | (self.all_units - int8)))

    def _add_tied(self, names: Collection[str]) -> frozenset[str]:
        """``names`` and whatever reads the same weights."""
        read = [weight.reader_names for weight in self._weights if not set(names).isdisjoint(weight.reader_names)]
        return frozenset(names).union(*read)

    def _select_weights(self, names: Collection[str]) -> list[WeightMatrix]:
        """The weights all of whose readers are among ``names``."""
        chosen = frozenset(names)
        return [weight for weight in self._weights if chosen.issuperset(weight.reader_names)]

    def _write(self, names: Collection[str], smoothings: Sequence[Smoothing] = ()) -> tuple[ir.Model, list[RewrittenLayer]]:
        copy, weights = model_file.clone(self._model), self._select_weights(names)
        reduce_range = self._target.saturating_pairs
        if smoothings:
            apply_smoothings(copy, find_same_weights(copy, weights), smoothings)
        written = write_dynamic(copy, find_same_weights(copy, weights), reduce_range=reduce_range)
        forms = {name: form for name, form in self._lstm_forms.items() if name in names}
        return copy, written + write_lstms(copy, forms, reduce_range=reduce_range)

    def _make_groups(self, losses: Mapping[str, float]) -> tuple[float, list[IndependentGroup]]:
        """Nanoseconds of the float model, and what the layers that read each weight gain in int8 and lose by it."""
        units = find_fusion_groups(self._model, self._target)
        config, placement = self._context.config, self._options.placement
        feed = CalibrationFeeds(self._context.require_samples("quantize")).for_timing(1, config, placement)[0]
        costs = get_cost_model(self._target, config, placement)
        times = estimate_unit_times(self._model, units, costs, shapes.read_dim_sizes(self._model, feed))
        float_mac, int8_mac = costs.dense_mac
        groups = []
        for weight in self._weights:
            # a layer in a body is no unit: it is taken for one row
            once = weight.array.size * (float_mac - int8_mac)
            names = [linear.name for linear in weight.linear_layers]
            gain = sum(max(times.floats.get(name, 0.0) - times.int8.get(name, 0.0), once) for name in names)
            if names:
                loss = sum(losses.get(name, 0.0) for name in names)
                groups.append(IndependentGroup(tuple(weight.reader_names), gain, loss))
        total = sum(times.floats.values())
        for layer in find_lstm_layers(self._model)[0] if self._lstm_forms else ():
            float_time, int8_time = estimate_lstm_time(layer, times)
            total += float_time
            if layer.name in self._lstm_forms:
                groups.append(IndependentGroup((layer.name,), float_time - int8_time, losses.get(layer.name, 0.0)))
        return total, groups


def describe_smoothing(built: BuiltLayers, report: StepReport) -> None:
    """Tell ``report`` what was smoothed, and what was tried."""
    if built.smoothings:
        report.details["smooth"] = [smoothing.as_json() for smoothing in built.smoothings]
    if built.smoothing_errors:
        report.details["smoothing"] = {name: float(f"{error:.4g}") for name, error in built.smoothing_errors.items()}
        report.count("smoothed activations", len(built.smoothings))
    report.count("residual sums kept apart from LayerNormalization", built.num_sums)
