"""The dynamic scheme: int8 linear layers whose inputs are quantised as they come; what transformers want.

A transformer's activations have ranges that change from input to input and a few channels far larger than the rest, so
ranges fixed by calibration cost accuracy; LayerNormalization, Gelu and Softmax run in float whatever is done, so fixed
ranges save no conversions either. The data are used to smooth outliers into the weights (:mod:`.smoothquant`), to tell what
each layer costs (:mod:`.layer_error`), and to see whether all that is faster here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError
from onnxslim.core.step_report import StepReport
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.dynamic.builder import DynamicBuilder, describe_smoothing
from onnxslim.quantization.dynamic.layer_error import (
    ObservedActivation,
    get_weight_matrix,
    observe_inputs,
    quantization_noise,
)
from onnxslim.quantization.dynamic.lstm_choice import choose_lstms
from onnxslim.quantization.dynamic.rewrite import RewrittenLayer
from onnxslim.quantization.dynamic.shared_ranges import SHARED_RANGE_REASON, find_spoiled_layers
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.evaluation.fusion_report import FusionReport, classify_layer, count_ops
from onnxslim.quantization.evaluation.group_losses import select_loss_feeds
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.linear_layers import WeightMatrix, find_weight_matrices
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.placement_selection import SelectedPlacement, select_milder_placement, select_placement
from onnxslim.quantization.prepare import build_no_layers_error
from onnxslim.quantization.recorded_decisions import check_layers
from onnxslim.quantization.sqnr_floor import build_sqnr_error
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only.float_layers import store_some_weights
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import SessionConfig

#: Samples that activations are looked at on, that choices are judged on, and that times are measured on.
MAX_OBSERVED_SAMPLES, MAX_EVALUATION_SAMPLES, NUM_TIMING_SAMPLES = 64, 32, 4


def quantize_dynamic(
    model: ir.Model, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) with its linear layers in dynamic int8; :func:`onnxslim.quantization.step.quantize` says the
    rest.
    """
    config, progress, feeds = context.config, context.progress, CalibrationFeeds(context.require_samples("quantize"))
    target, float_names = TARGETS[options.target], frozenset(options.float_units or ())
    check_layers(options, model)
    layer_weights = _find_weights(model, report, options.exclude)
    lstm_choices = choose_lstms(model, context, options, report)
    float_lstms = frozenset(name for name, choice in lstm_choices.items() if choice.why_float is not None)
    linears = [linear for weight in layer_weights for linear in weight.linear_layers]
    if (float_names | float_lstms).issuperset([*(linear.name for linear in linears), *lstm_choices]):
        raise build_no_layers_error(model, "MatMul, Gemm or LSTM with float32 weights of any size that gains time")
    progress("looking at activations", 0, 3)
    observations = observe_inputs(model, linears, feeds.first(MAX_OBSERVED_SAMPLES), config)
    layer_weights, spoiled_names = _leave_spoiled(layer_weights, observations, context, report)
    linears = [linear for weight in layer_weights for linear in weight.linear_layers]
    if spoiled_names and (float_names | float_lstms).issuperset([*(linear.name for linear in linears), *lstm_choices]):
        raise UnsupportedError(
            f"nothing to quantise: of every layer {SHARED_RANGE_REASON}",
            hint="leave those samples out, or --weights int8, which leaves activations in float",
        )
    layer_noise = {
        linear.name: quantization_noise(observations[name], get_weight_matrix(linear))
        for linear in linears
        if (name := str(linear.activation.name)) in observations
    }
    layer_noise |= {name: choice.error for name, choice in lstm_choices.items() if choice.error is not None}
    progress("writing", 1, 3)
    judge = Judge(context, options)
    judged_feeds = feeds.last(MAX_EVALUATION_SAMPLES)
    loss_feeds = select_loss_feeds(model, feeds)
    builder = DynamicBuilder(
        model, layer_weights, observations, lstm_choices, judged_feeds, loss_feeds, context=context, options=options
    )
    if options.float_units is not None and options.loss_share is not None:
        selected = select_milder_placement(
            builder, builder.all_units - float_names, options.loss_share, context, report
        )  # fmt: skip
        float_names |= frozenset(selected.front[selected.index or 0].float_units)
    elif options.float_units is not None or not (judge.is_drop_judged or options.min_sqnr is not None):
        given = builder.build(builder.all_units - float_names)
        selected = SelectedPlacement(given, judge.take_smallest(given.variants))
        for name in sorted(builder.all_units & float_names):
            report.skip(name, "it went back to float for accuracy")
    else:
        selected = select_placement(model, builder, judge, builder.all_units, context, report)
        selected = store_some_weights(
            selected, builder.reference, loss_feeds, judge, context=context, options=options, report=report
        )
        if selected.selection is not None and selected.selection.index is None and not judge.is_drop_judged:
            raise build_sqnr_error(selected.variant.output_errors, options)
        float_names = frozenset(() if selected.index is None else selected.front[selected.index].float_units)
    float_names |= float_lstms | spoiled_names
    result, built = selected.variant.model, selected.built
    selected.describe(report)
    describe_smoothing(built, report)
    progress("timing", 2, 3)
    if options.placement == "measured":
        fastest_name, seconds = placement_profiling.pick_fastest(
            {"float": model, "dynamic": result},
            feeds.for_timing(NUM_TIMING_SAMPLES, config, options.placement),
            config,
            report,
        )
        if fastest_name == "float" and seconds["dynamic"] > seconds["float"]:
            report.warnings.append(
                f"dynamic int8 is not faster than float on this machine: {seconds['dynamic'] * 1e3:.3g} ms "
                f"against {seconds['float'] * 1e3:.3g} ms"
            )
    fusion_report = _inspect_layers(result, built.written, layer_noise, target, config)
    report.count("embedding tables in int8", sum(entry.op == "Gather" for entry in built.written))
    fusion_report.summarize(report)
    report.details["layers"] = [vars(layer) for layer in fusion_report.layers]
    how = "recorded" if options.float_units is not None else options.placement
    report.details["placement"] = {"how": how, "float": sorted(float_names)}
    report.details["runtime_ops"] = fusion_report.ops
    decision = QuantizeDecision(
        "dynamic", target.name, float_units=tuple(sorted(float_names)), layers=fusion_report.layers,
        float_weights=selected.variant.float_weights, front=selected.front, front_index=selected.index,
        large_weights=selected.large_weights or options.large_weights, mixed_reason=selected.reason,
    )  # fmt: skip
    return result, decision


def _find_weights(model: ir.Model, report: StepReport, exclude: Sequence[str]) -> list[WeightMatrix]:
    all_weights, skipped = find_weight_matrices(model, exclude)
    report.skipped += skipped
    selected = []
    for weight in all_weights:
        if not weight.is_read_both_ways:
            selected.append(weight)
            continue
        reason = "its weights are read both ways, as they are and transposed: no scale is an output's for both"
        for name in weight.reader_names:
            report.skip(name, reason)
    return selected


def _leave_spoiled(
    weights: Sequence[WeightMatrix],
    observations: Mapping[str, ObservedActivation],
    context: QuantizeContext,
    report: StepReport,
) -> tuple[list[WeightMatrix], frozenset[str]]:
    """Those of ``weights`` that no sample which is not finite gets at, and the names of the readers of the others."""
    runs_alone = context.require_samples("quantize").fixed_batch == 1
    linears = [linear for weight in weights for linear in weight.linear_layers]
    spoiled = set(find_spoiled_layers(linears, observations, report, runs_alone=runs_alone))
    kept = [weight for weight in weights if spoiled.isdisjoint(weight.linear_layers)]
    names = [name for weight in weights if weight not in kept for name in weight.reader_names]
    for name in names:
        report.skip(name, SHARED_RANGE_REASON)
    return kept, frozenset(names)


def _inspect_layers(
    result: ir.Model,
    written_layers: Sequence[RewrittenLayer],
    layer_noise: Mapping[str, float],
    target: Target,
    config: SessionConfig,
) -> FusionReport:
    """What the runtime makes of the linear layers that were written; tables are no layers."""
    ops, kernels = count_ops(read_optimized_graph(result, config).graph)
    layers = []
    for entry in written_layers:
        if entry.op != "Gather":
            kernel_ops = [op for name in entry.weight_names for op in kernels.get(name, ())]
            layer = classify_layer(entry.name, entry.op, kernel_ops, target)
            layers.append(layer.with_error(layer_noise.get(entry.name)))
    return FusionReport(dict(ops.most_common()), (), tuple(layers))
