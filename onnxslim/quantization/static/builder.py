"""One placement made real: ranges, the image input's own grid, weights and biases mended, what stays float stored small."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.calibration.range_selection import RangeSelector
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.dynamic.lstm import LstmForm, find_lstm_layers, write_lstms
from onnxslim.quantization.dynamic.lstm_choice import LstmChoice, estimate_lstm_time
from onnxslim.quantization.evaluation.group_losses import measure_group_losses
from onnxslim.quantization.float_weights import Variant, make_variants
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan, find_fusion_groups, make_plan
from onnxslim.quantization.qdq.placement import UnitTimes
from onnxslim.quantization.qdq.placement_front import (
    IndependentGroup,
    Placement,
    combine_fronts,
    remeasure_front,
    walk_front,
)
from onnxslim.quantization.static import image_input as image_inputs
from onnxslim.quantization.static.corrected_model import CorrectedModel, build_corrected_model
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only import int4_linear
from onnxslim.runtime.memory import release_freed_memory


@dataclass(frozen=True)
class BuiltPlacement:
    """A placement made real.

    Attributes:
        int8: The units in int8.
        method: How ranges were found.
        units: All units of the model that was quantised.
        plan: What is int8.
        corrected: The model as it was mended.
        variants: The smaller first; the last is the one that loses least.
        image_input: The input that is quantised on its own levels, or None.
        int4_count: Linear layers in 4 bits.
        lstms: The LSTM layers that could be int8, by name.
    """

    int8: frozenset[str]
    method: str
    units: Sequence[FusionGroup]
    plan: QuantizationPlan
    corrected: CorrectedModel
    variants: Sequence[Variant]
    image_input: str | None
    int4_count: int
    lstms: frozenset[str]

    @property
    def float_units(self) -> tuple[str, ...]:
        """What stays in float although it could be int8."""
        return tuple(sorted(({unit.name for unit in self.units if unit.why_float is None} | self.lstms) - self.int8))


@dataclass(frozen=True)
class StaticBuilder:
    """Builds placements of one model.

    Attributes:
        model: The float model, equalised.
        all_units: Its units.
        feeds: All calibration samples.
        correction_feeds: Those that layers are mended on.
        reference: The float model's outputs on those that results are judged on.
        range_selector: Has the encodings.
        times: What each unit takes.
        loss_feeds: A few samples, for what each unit loses alone.
        method: How ranges are found where nothing went back to float; placements with fewer units in int8 may have others.
        int4_layers: Layers that take 4-bit weights.
        lstms: What becomes of the LSTM layers, by name: int8 ones take their ranges from what comes.
        context: Where to run.
        options: With nothing left to choose but placement.
        report: Told how long what takes.
    """

    model: ir.Model
    all_units: Sequence[FusionGroup]
    feeds: CalibrationFeeds
    correction_feeds: Sequence[Mapping[str, np.ndarray]]
    reference: ReferenceOutputs
    range_selector: RangeSelector
    times: UnitTimes | None
    loss_feeds: Sequence[Mapping[str, np.ndarray]]
    method: str
    int4_layers: Sequence[str]
    lstms: Mapping[str, LstmChoice]
    context: QuantizeContext
    options: QuantizeOptions
    report: StepReport

    @property
    def int8_lstms(self) -> frozenset[str]:
        """The LSTM layers that gain by int8."""
        return frozenset(name for name, choice in self.lstms.items() if choice.why_float is None)

    def build(self, int8: frozenset[str], *, is_first: bool = True) -> BuiltPlacement:
        """The units ``int8`` in int8; ranges are chosen anew unless it is the first."""
        target, config = TARGETS[self.options.target], self.context.config
        method, units = self.method, int8 - self.lstms.keys()
        if not is_first:
            errors = self.range_selector.measure_errors(make_plan(self.all_units, units))
            method = min(errors, key=errors.__getitem__, default=method)
        qparams = self.range_selector.get_qparams(method)
        with self.report.part("mending"):
            source_model, source_units = self.model, self.all_units
            image_input = None
            if not target.activation_symmetric:
                image_input = image_inputs.find_image_input(self.model, self.feeds, units)
            if image_input is not None:
                source_model = image_inputs.insert_level_ops(self.model, image_input)
                source_units = find_fusion_groups(source_model, target, self.options.exclude)
                source_units = image_inputs.keep_level_ops_float(source_units, image_input)
                source_units = int4_linear.mark_int4_units(source_units, self.int4_layers)
                qparams = replace(qparams, encodings={**qparams.encodings, image_input.levels_name: image_input.encoding})
            plan = make_plan(source_units, units)
            corrected = build_corrected_model(
                source_model, self.context, plan, qparams, self.correction_feeds, self.reference, image_input=image_input,
                max_layers=self.options.corrected_layers,
            )  # fmt: skip
        model, output_errors, int4_count = corrected.model, corrected.output_errors, 0
        if self.int4_layers:
            with self.report.part("4-bit layers"):
                int4_count = int4_linear.write_int4_layers(model, self.int4_layers, self.feeds, config)
                output_errors = self.reference.errors(model)
        if lstms := int8 & self.lstms.keys():
            with self.report.part("LSTM layers"):
                write_lstms(model, self._get_forms(lstms), reduce_range=target.saturating_pairs)
                output_errors = self.reference.errors(model)
        with self.report.part("float weights"):
            variants = make_variants(model, self.reference, output_errors, target, self.options)
        release_freed_memory()
        return BuiltPlacement(
            int8, method, source_units, plan, corrected, variants,
            None if image_input is None else image_input.input_name, int4_count, frozenset(self.lstms),
        )  # fmt: skip

    def walk_front(self, fastest: frozenset[str], reserve: float) -> list[Placement]:
        """Placements from ``fastest`` to the mildest, each unit's loss measured alone; ``reserve`` seconds are left."""
        assert self.times is not None, "a given placement has no times"
        reference = ReferenceOutputs(self.model, self.loss_feeds, self.context.config)

        fits = self.context.pace(reserve).fits

        def measure(names: Collection[str]) -> float:
            quantized = self.range_selector.quantize(make_plan(self.all_units, names), self.method)
            return sum(reference.errors(quantized).values())

        units = fastest - self.lstms.keys()
        losses = measure_group_losses([unit.name for unit in self.all_units if unit.name in units], measure, fits)
        front = remeasure_front(walk_front(self.all_units, self.times, losses, units), measure, fits)
        combined = combine_fronts(front, self._rank_lstms(fastest & self.lstms.keys(), reference, fits))
        return [point for point in combined if point.int8]  # nothing in int8 is no placement

    def _rank_lstms(
        self, names: frozenset[str], reference: ReferenceOutputs, fits: Callable[[], bool]
    ) -> list[IndependentGroup]:
        """The LSTM layers ``names`` with the time that int8 saves and what it loses."""
        assert self.times is not None
        target = TARGETS[self.options.target]

        def measure(names: Collection[str]) -> float:
            copy = model_file.clone(self.model)
            write_lstms(copy, self._get_forms(names), reduce_range=target.saturating_pairs)
            return sum(reference.errors(copy).values())

        layers = [layer for layer in find_lstm_layers(self.model)[0] if layer.name in names]
        losses = measure_group_losses([layer.name for layer in layers], measure, fits)
        times = [estimate_lstm_time(layer, self.times) for layer in layers]
        return [
            IndependentGroup((layer.name,), in_float - in_int8, losses[layer.name])
            for layer, (in_float, in_int8) in zip(layers, times, strict=True)
        ]

    def _get_forms(self, names: Collection[str]) -> dict[str, LstmForm]:
        return {name: self.lstms[name].form for name in sorted(names)}

    def list_float_units(self, int8: frozenset[str]) -> tuple[str, ...]:
        """What has to be named for ``int8`` to be built again."""
        return tuple(sorted(({unit.name for unit in self.all_units if unit.why_float is None} | self.lstms.keys()) - int8))
