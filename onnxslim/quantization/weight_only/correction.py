"""Weights in int8 that are rounded for the data, layer by layer, and biases that make up for what is lost.

Rounded to nearest each layer keeps some 44 dB, and of a hundred layers the errors add up, means above all: behind a SiLU
or in a depthwise layer hardly anything averages out. So the static scheme's correction
(:mod:`onnxslim.quantization.static.layerwise_correction`) is run with activations in float. The layers get the weights that
their codes stand for; what writes weights (:mod:`.expanded`) finds such codes again without a loss.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.activations.working_set import estimate_peak_bytes, limit_batch_size
from onnxslim.core.deadline import NO_TIME_LEFT
from onnxslim.core.step_report import StepReport
from onnxslim.graph import cost
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import get_output_axis
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import QuantizationPlan, find_fusion_groups, make_weights_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq_in_place
from onnxslim.quantization.static.layerwise_correction import correct_layers
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only.expanded import ExpandedWeight, find_expanded_weights
from onnxslim.quantization.weight_only.weights import WeightTensor
from onnxslim.runtime.memory import release_freed_memory

#: Samples that layers are corrected on, at least and at most, and in between as many as these multiply-accumulates pay for.
MIN_SAMPLES, MAX_SAMPLES, SAMPLE_MACS = 16, 64, 8e9
#: Bytes that their activations, held as floats, may take; of large maps a few samples show as many rows, but so many there
#: are at least.
MAX_HELD_BYTES, MIN_LARGE_SAMPLES = 192_000_000, 4
#: Samples that the result is judged on, as a share of all and at most; with fewer than these in all nothing is corrected.
HELD_BACK_SHARE, MAX_HELD_BACK, MIN_TOTAL = 0.25, 16, 8
#: Of the time that is left, what correcting may take.
TIME_SHARE = 0.5
#: What it must lower the outputs' error to at least, as a share: less is within what other samples would show.
MAX_ERROR_SHARE = 0.95
#: Writes a model's weights in place, but those of layers whose names match: ``(model, patterns) -> report``.
WriteWeights = Callable[[ir.Model, Sequence[str]], StepReport]


@dataclass(frozen=True)
class WeightCorrection:
    """Layers of one model with other weights and biases.

    Attributes:
        plan: Which layers.
        qparams: Their codes and biases; of the first ones alone where time was up.
    """

    plan: QuantizationPlan
    qparams: QuantizationParams

    @property
    def layer_count(self) -> int:
        """How many layers there are."""
        return len(self.qparams.weights)

    def extend(self, write: WriteWeights) -> WriteWeights:
        """``write`` with the layers corrected first, those apart that it leaves in float."""

        def write_corrected(model: ir.Model, exclude: Sequence[str]) -> StepReport:
            names = {name for name in self.qparams.weights if not any(re.fullmatch(p, name) for p in exclude)}
            insert_qdq_in_place(model, replace(self.plan, int8=frozenset(names)).rebind(model), self.qparams)
            return write(model, exclude)

        return write_corrected


def correct_weights(
    model: ir.Model,
    write: WriteWeights,
    block_layers: Collection[str],
    context: QuantizeContext,
    options: QuantizeOptions,
    report: StepReport,
) -> WeightCorrection | None:
    """Corrections for the layers of ``model`` whose weights ``write`` rounds with a scale for each output, or None: without
    data, or where they would not lower the error of the outputs on samples that they are not fitted to.

    Args:
        model: Prepared; it is not changed.
        write: Rounds to nearest.
        block_layers: Layers that have their weights in another form.
        context: Data, and the deadline.
        options: With ``corrected_layers`` of an earlier run that many are corrected, and nothing is judged.
        report: Told what became of it.
    """
    given = options.corrected_layers
    if given == 0 or (context.samples is None and given is None):
        return None
    feeds = CalibrationFeeds(context.require_samples("repeating weights that were rounded for the data"))
    if len(feeds) < MIN_TOTAL:
        report.skip("rounding for the data", f"it takes {MIN_TOTAL} samples: some to fit to, some to judge by")
        return None
    rounded = model_file.clone(model)
    plan = _round_others(rounded, block_layers, options)
    if not plan.int8:
        return None
    held_back = min(MAX_HELD_BACK, int(HELD_BACK_SHARE * len(feeds)))
    pacer, reference = context.pace(share=TIME_SHARE), None
    if given is None:
        reference = ReferenceOutputs(model, feeds.last(held_back), context.config)
    count = min(_count_samples(model, feeds), len(feeds) - held_back)
    qparams, _, stopped_after = correct_layers(
        rounded,
        plan,
        QuantizationParams({}),
        feeds.first(count),
        context.config,
        pacer=pacer,
        max_layers=given,
        target=model,
    )
    release_freed_memory()
    correction = WeightCorrection(plan, qparams)
    if reference is None:
        return correction
    if stopped_after is not None:
        report.skip(f"layers after the first {stopped_after}", f"rounding for the data: {NO_TIME_LEFT}")
    errors = []
    for write_variant in (write, correction.extend(write)):
        variant = model_file.clone(model)
        write_variant(variant, options.exclude)
        errors.append(reference.error(variant))
    is_better = errors[1] < MAX_ERROR_SHARE * errors[0]
    report.details["rounding"] = {
        "way": "for the data" if is_better else "to nearest", "samples": count, "layers": correction.layer_count,
        "errors": {"to nearest": float(f"{errors[0]:.4g}"), "for the data": float(f"{errors[1]:.4g}")},
    }  # fmt: skip
    return correction if is_better else None


def _round_others(model: ir.Model, block_layers: Collection[str], options: QuantizeOptions) -> QuantizationPlan:
    """The layers of ``model`` that alone read a weight which is expanded from one scale for each output. All others that
    are expanded are rounded, in place: what they lose the layers behind can make up for.
    """
    units = find_fusion_groups(model, TARGETS[options.target], options.exclude)
    layers = {unit.anchor for unit in units if unit.has_weights and unit.why_float is None} - {
        unit.anchor for unit in units if unit.name in block_layers
    }
    editor, names = GraphEditor(model.graph), set[str]()
    for tensor, quantized in find_expanded_weights(model, options.exclude)[0]:
        readers = {use.node for use in tensor.value.uses()}
        if len(readers) == 1 and readers <= layers and _has_output_scales(quantized, tensor, *readers):
            names.update(node.name or "" for node in readers)
        elif not any(node.name in block_layers for node in readers):
            array = quantized.expand().reshape(tensor.array.shape)
            tensor.replace(editor, editor.add_initializer(f"{tensor.value.name}_rounded", array), editor.graph[0])
    return make_weights_plan(units, names)


def _has_output_scales(quantized: ExpandedWeight, tensor: WeightTensor, reader: ir.Node) -> bool:
    """Whether there is one scale for each output of ``reader``."""
    axis, shape = get_output_axis(reader) % tensor.array.ndim, tensor.array.shape
    by_output = tuple(size if index == axis else 1 for index, size in enumerate(shape))
    return [scales.shape for scales in quantized.scales] == [by_output]


def _count_samples(model: ir.Model, feeds: CalibrationFeeds) -> int:
    """On how many samples layers are corrected: as many as their time and their memory allow, whatever the machine."""
    macs = max(cost.compute_cost(model).macs, 1)
    count = int(min(max(SAMPLE_MACS / macs, MIN_SAMPLES), MAX_SAMPLES))
    return max(limit_batch_size(estimate_peak_bytes(model, next(iter(feeds))), count, MAX_HELD_BYTES), MIN_LARGE_SAMPLES)
