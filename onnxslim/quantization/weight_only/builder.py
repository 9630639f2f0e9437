"""Weights in int8 as far as the outputs bear it: what costs them most for the bytes it saves stays float."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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
from onnxslim.quantization.evaluation.group_losses import measure_group_losses
from onnxslim.quantization.float_weights import Variant
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups
from onnxslim.quantization.qdq.placement import estimate_unit_times
from onnxslim.quantization.qdq.placement_front import IndependentGroup, Placement, rank_front, remeasure_front
from onnxslim.quantization.storage.narrow_constants import narrow_constants
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only.weights import WeightTensor, exclude_layers, find_weight_tensors


@dataclass(frozen=True)
class BuiltWeights:
    """A model with weights in int8.

    Attributes:
        variants: It alone.
        written: What was written, and what was skipped.
    """

    variants: Sequence[Variant]
    written: StepReport


class WeightsBuilder:
    """Builds models of which some layers keep float weights.

    Args:
        model: The float model.
        write: Writes a model's weights in place, but those of layers whose names match.
        feeds: Samples that results are judged on.
        loss_feeds: Samples that what a layer loses alone is measured on.
        context: Where to run.
        options: For what.
    """

    def __init__(
        self,
        model: ir.Model,
        write: Callable[[ir.Model, Sequence[str]], StepReport],
        feeds: Sequence[Mapping[str, np.ndarray]],
        loss_feeds: Sequence[Mapping[str, np.ndarray]],
        *,
        context: QuantizeContext,
        options: QuantizeOptions,
    ) -> None:
        self._model, self._write, self._feeds, self._loss_feeds = model, write, feeds, loss_feeds
        self._context, self._options = context, options

    @cached_property
    def _saved_bytes(self) -> dict[tuple[str, ...], int]:
        """The bytes that int8 saves, by the readers of a weight; weights that share a reader go together."""
        groups: list[tuple[set[str], int]] = []
        for tensor in find_weight_tensors(self._model, self._options.exclude)[0]:
            readers, saved = (
                {use.node.name or "" for use in tensor.value.uses()},
                self._get_float_bytes(tensor) - tensor.array.size,
            )
            for other in [group for group in groups if group[0] & readers]:
                groups.remove(other)
                readers, saved = readers | other[0], saved + other[1]
            groups.append((readers, saved))
        return {tuple(sorted(readers)): saved for readers, saved in groups}

    @property
    def all_units(self) -> frozenset[str]:
        """The readers of every weight that can be int8."""
        return frozenset(name for readers in self._saved_bytes for name in readers)

    def build(self, int8: frozenset[str], *, is_first: bool = True) -> BuiltWeights:
        """The weights that ``int8`` read in int8."""
        model, written = self._write_copy(int8)
        errors = self._reference.merge_parts(self._reference.errors(model))
        return BuiltWeights([Variant(None, model, errors)], written)

    def write(self, int8: frozenset[str]) -> ir.Model:
        """The same model as :meth:`build` makes, judged by nobody."""
        return self._write_copy(int8)[0]

    def walk_front(self, fastest: frozenset[str], reserve: float) -> list[Placement]:
        """From all of ``fastest`` in int8 to one weight, each one's loss measured alone, and to half floats alone;
        ``reserve`` seconds are left.
        """
        reference = ReferenceOutputs(self._model, self._loss_feeds, self._context.config)
        fits = self._context.pace(reserve).fits
        readers = {group[0]: group for group in self._saved_bytes if fastest.issuperset(group)}

        def measure(names: Collection[str]) -> float:
            return reference.error(self._write_copy(names)[0])

        losses = measure_group_losses(list(readers), lambda firsts: measure({n for f in firsts for n in readers[f]}), fits)
        groups = [
            IndependentGroup(group, float(self._saved_bytes[group]), losses[first]) for first, group in readers.items()
        ]
        points = rank_front(groups, frozenset(), 0.0)
        saved = [sum(group.gain for group in groups if point.int8.issuperset(group.names)) for point in points]
        # weights that are expanded at load take no time, and those in blocks were found to be as fast
        placements = [
            Placement(point.int8, point.loss, self._float_seconds, self._float_bytes - gain)
            for point, gain in zip(points, saved, strict=True)
        ]
        front = remeasure_front(placements, measure, fits)
        if front and stores_halves(self._options):  # they lose next to nothing, which is judged as all others are
            front.append(Placement(frozenset(), 0.0, self._float_seconds, self._float_bytes))
        return front

    def list_float_units(self, int8: frozenset[str]) -> tuple[str, ...]:
        """What has to be named for ``int8`` to be built again."""
        return tuple(sorted(self.all_units - int8))

    @cached_property
    def _reference(self) -> ReferenceOutputs:
        return ReferenceOutputs(self._model, self._feeds, self._context.config)

    @cached_property
    def _float_bytes(self) -> int:
        tensors = find_weight_tensors(self._model, self._options.exclude)[0]
        return sum(map(self._get_float_bytes, tensors))

    def _get_float_bytes(self, tensor: WeightTensor) -> int:
        """Bytes of what stays float: in half floats, as far as they are stored so."""
        return min(tensor.nbytes, 2 * tensor.array.size) if stores_halves(self._options) else tensor.nbytes

    @cached_property
    def _float_seconds(self) -> float:
        target, config = TARGETS[self._options.target], self._context.config
        feed = CalibrationFeeds(self._context.require_samples("quantize")).for_timing(1, config, self._options.placement)[0]
        units, dims = find_fusion_groups(self._model, target), shapes.read_dim_sizes(self._model, feed)
        costs = get_cost_model(target, config, self._options.placement)
        return sum(estimate_unit_times(self._model, units, costs, dims).floats.values()) * 1e-9

    def _write_copy(self, int8: Collection[str]) -> tuple[ir.Model, StepReport]:
        copy = model_file.clone(self._model)
        float_units = self.list_float_units(frozenset(int8))
        written = self._write(copy, exclude_layers(self._options.exclude, float_units))
        return copy, written if written.changed else write_halves(copy, self._options)


def stores_halves(options: QuantizeOptions) -> bool:
    """Whether what stays float is stored in half floats."""
    return options.float_weights != "float32" and TARGETS[options.target].no_contrib_ops_reason is None


def write_halves(model: ir.Model, options: QuantizeOptions) -> StepReport:
    """The weights of ``model``, none of which is in int8, in half floats, in place, where ``options`` allow them."""
    return narrow_constants(model, options.exclude) if stores_halves(options) else StepReport("weights")
