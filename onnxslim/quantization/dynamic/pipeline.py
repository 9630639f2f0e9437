"""The dynamic scheme: int8 linear layers whose inputs are quantised as they come; what transformers want.

A transformer's activations have ranges that change from input to input and a few channels far larger than the rest, so
ranges fixed by calibration cost accuracy; LayerNormalization, Gelu and Softmax run in float whatever is done, so fixed
ranges save no conversions either. The data are used to smooth outliers into the weights (:mod:`.smoothquant`), to tell what
each layer costs (:mod:`.layer_error`), and to see whether all that is faster here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.activations.run_context import RunContext
from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.dynamic.layer_error import get_weight_matrix, observe_inputs, quantization_noise
from onnxslim.quantization.dynamic.rewrite import RewrittenLayer, write_dynamic
from onnxslim.quantization.dynamic.skip_layernorm_guard import replace_adds_with_sums
from onnxslim.quantization.dynamic.smoothquant import Smoothing, apply_smoothings, choose_smoothings
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.evaluation.fusion_report import FusionReport, classify_layer, count_ops
from onnxslim.quantization.linear_layers import WeightMatrix, find_same_weights, find_weight_matrices
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import build_no_layers_error
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import SessionConfig

#: Samples that activations are looked at on, that choices are judged on, and that times are measured on.
MAX_OBSERVED_SAMPLES, MAX_EVALUATION_SAMPLES, NUM_TIMING_SAMPLES = 64, 32, 4
#: The error of the outputs that smoothing must get below, relative to doing without, to be kept.
MAX_SMOOTHING_ERROR_RATIO = 0.95
#: Gains in dB from which on activations are smoothed, each tried on the outputs: a layer's own error is a poor judge of
#: what its neighbours make of it, and the smallest gains do the most harm.
MIN_SMOOTHING_GAINS_DB = (0.0, 4.0, 6.0)


def quantize_dynamic(
    model: ir.Model, context: RunContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) with its linear layers in dynamic int8; :func:`onnxslim.quantization.step.quantize` says the
    rest.
    """
    config, progress, feeds = context.config, context.progress, CalibrationFeeds(context.require_samples("quantize"))
    target = TARGETS[options.target]
    float_names = tuple(options.float_units or ())
    layer_weights = _find_weights(model, report, options.exclude, float_names)
    if not any(weight.linear_layers for weight in layer_weights):
        raise build_no_layers_error(model, "MatMul or Gemm with float32 weights of any size")
    linears = [linear for weight in layer_weights for linear in weight.linear_layers]
    observed_samples = feeds.first(MAX_OBSERVED_SAMPLES)
    progress("looking at activations", 0, 3)
    observations = observe_inputs(model, linears, observed_samples, config)
    layer_noise = {
        linear.name: quantization_noise(observations[name], get_weight_matrix(linear))
        for linear in linears
        if (name := str(linear.activation.name)) in observations
    }
    progress("writing", 1, 3)
    reduce_range = target.saturating_pairs
    result = model_file.clone(model)
    written_layers = write_dynamic(result, find_same_weights(result, layer_weights), reduce_range=reduce_range)
    candidates = choose_smoothings(layer_weights, observations)
    if candidates:
        reference = ReferenceOutputs(model, feeds.last(MAX_EVALUATION_SAMPLES), config)
        best_error = plain_error = reference.error(result)
        kept: list[Smoothing] = []
        errors = {"nothing": plain_error}
        for min_gain_db in MIN_SMOOTHING_GAINS_DB:
            chosen = [smoothing for smoothing in candidates if smoothing.gain_db >= min_gain_db]
            # each set is a part of the one before, so one of the same size is the same
            label = f"{len(chosen)} activations"
            if not chosen or label in errors:
                continue
            smoothed_model = model_file.clone(model)
            apply_smoothings(smoothed_model, find_same_weights(smoothed_model, layer_weights), chosen)
            smoothed_layers = write_dynamic(
                smoothed_model, find_same_weights(smoothed_model, layer_weights), reduce_range=reduce_range
            )
            error = errors[label] = reference.error(smoothed_model)
            if error < min(best_error, MAX_SMOOTHING_ERROR_RATIO * plain_error):
                best_error, result, written_layers, kept = error, smoothed_model, smoothed_layers, chosen
        if kept:
            report.details["smooth"] = [smoothing.as_json() for smoothing in kept]
        report.details["smoothing"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        report.count("smoothed activations", len(kept))
    report.count("residual sums kept apart from LayerNormalization", replace_adds_with_sums(result))
    progress("timing", 2, 3)
    if options.placement == "measured":
        fastest_name, seconds = placement_profiling.pick_fastest(
            {"float": model, "dynamic": result}, feeds.first(NUM_TIMING_SAMPLES), config, report
        )
        if fastest_name == "float":
            report.warnings.append(
                f"dynamic int8 is not faster than float on this machine: {seconds['dynamic'] * 1e3:.3g} ms "
                f"against {seconds['float'] * 1e3:.3g} ms"
            )
    fusion_report = _inspect_layers(result, written_layers, layer_noise, target, config)
    report.count("embedding tables in int8", sum(entry.op == "Gather" for entry in written_layers))
    fusion_report.summarize(report)
    report.details["layers"] = [vars(layer) for layer in fusion_report.layers]
    how = "recorded" if options.float_units is not None else options.placement
    report.details["placement"] = {"how": how, "float": sorted(float_names)}
    report.details["runtime_ops"] = fusion_report.ops
    decision = QuantizeDecision("dynamic", target.name, float_units=tuple(sorted(float_names)), layers=fusion_report.layers)
    return result, decision


def _find_weights(
    model: ir.Model, report: StepReport, exclude: Sequence[str], float_names: Sequence[str]
) -> list[WeightMatrix]:
    all_weights, skipped = find_weight_matrices(model, exclude)
    report.skipped += skipped
    selected = []
    for weight in all_weights:
        if set(weight.reader_names) & set(float_names):
            reason = "it went back to float for accuracy"
        elif weight.is_read_both_ways:
            reason = "its weights are read both ways, as they are and transposed: no scale is an output's for both"
        else:
            selected.append(weight)
            continue
        for name in weight.reader_names:
            report.skip(name, reason)
    return selected


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
