"""The static way: ranges of activations known from data, int8 in QDQ form, placed where the runtime gains by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.core.workers import current_workers
from onnxslim.graph import cost
from onnxslim.quantization.calibration import observe, range_methods, sharding
from onnxslim.quantization.calibration.cache import CacheFiles, CacheWriter
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.calibration.histograms import Statistics
from onnxslim.quantization.calibration.range_selection import RangeSelector
from onnxslim.quantization.calibration.warnings import find_calibration_warnings
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.options import PLACEMENTS, QuantizeOptions
from onnxslim.quantization.prepare import build_no_layers_error
from onnxslim.quantization.qdq import placement
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan, find_fusion_groups, make_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq
from onnxslim.quantization.qdq.mean_to_pool import replace_means_with_pools
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.static import image_input as image_inputs
from onnxslim.quantization.static import output_head
from onnxslim.quantization.static.corrected_model import build_corrected_model
from onnxslim.quantization.static.equalization_stats import collect_equalization_statistics, equalize_copy
from onnxslim.quantization.static.float_fallback import (
    AttemptResult,
    build_sqnr_error,
    get_max_error,
    get_min_sqnr_db,
    next_attempt,
)
from onnxslim.quantization.static.summary import summarize
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only import int4_linear
from onnxslim.runtime.memory import release_freed_memory

#: Samples that times are measured on.
NUM_TIMING_SAMPLES = 8
#: Samples that results are judged on, at least and at most: between them what this many multiply-accumulates pay for. A
#: few answers that flip decide what a classifier loses, so that many samples are wanted where they are cheap.
MIN_EVALUATION_SAMPLES, MAX_EVALUATION_SAMPLES, EVALUATION_MACS = 32, 128, 12e9
#: Samples that layers are mended on, likewise.
MIN_CORRECTION_SAMPLES, MAX_CORRECTION_SAMPLES, CORRECTION_MACS = 32, 128, 10e9
#: Ranges are compared on one in so many of those, and on so many at most.
RANGE_SAMPLE_STRIDE, MAX_RANGE_SAMPLES = 4, 16
#: Inputs of a Concat whose ranges differ by more than this do not share a scale.
MAX_CONCAT_RANGE_RATIO = 16.0
#: Int8 that takes so many times as long as float is refused; up to there the clock may be wrong.
MAX_SLOWDOWN = 1.03
#: Of the memory that may be used, what watching activations may take beside the model and its own activations.
OBSERVATION_MEMORY_SHARE = 0.25


def quantize_static(
    model: ir.Model, context: RunContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) in static int8; :func:`onnxslim.quantization.step.quantize` says the rest."""
    config = context.config
    target, methods = TARGETS[options.target], range_methods.parse_methods(options.calibration)
    with report.part("preparing"):
        report.count("means written as pools", replace_means_with_pools(model, target))
        feeds = CalibrationFeeds(context.require_samples("quantize"))
        macs = max(cost.compute_cost(model).macs, 1)
        evaluation_count = int(min(max(EVALUATION_MACS / macs, MIN_EVALUATION_SAMPLES), MAX_EVALUATION_SAMPLES))
        correction_feeds = feeds.first(int(min(max(CORRECTION_MACS / macs, MIN_CORRECTION_SAMPLES), MAX_CORRECTION_SAMPLES)))
        evaluation_feeds = feeds[-evaluation_count:]
        reference = ReferenceOutputs(model, evaluation_feeds, config)
    with report.part("equalisation"):
        cache_files = CacheFiles(options.statistics, model) if options.statistics else None
        equalization = None if cache_files is None else cache_files.equalization
        if equalization is None:
            equalization = collect_equalization_statistics(model, target, feeds, reference, config, report)
        equalized = equalize_copy(model, equalization, report)
        release_freed_memory()
    int4_layers = int4_linear.find_int4_layers(equalized, options.exclude) if options.linear == "int4" else []
    if options.linear == "int4" and not int4_layers:
        report.skip("linear layers in 4 bits", int4_linear.NO_LAYERS_REASON)
    all_units = output_head.keep_head_in_float(
        equalized, int4_linear.mark_int4_units(find_fusion_groups(equalized, target, options.exclude), int4_layers)
    )
    int8_capable = find_int8_capable(all_units)
    if not any(unit.has_weights for unit in all_units if unit.name in int8_capable):
        raise build_no_layers_error(model, "Conv, Gemm or MatMul with float32 weights can run in int8")
    full_plan = make_plan(all_units, int8_capable)
    with report.part("statistics"):
        cache_writer = (
            None if cache_files is None else CacheWriter(cache_files, list(full_plan.tensors), feeds.digests(), equalization)
        )
        statistics = _collect_statistics(equalized, context, list(full_plan.tensors), feeds, cache_writer, options)
        if cache_writer is not None:
            known_count = len(feeds) - len(cache_writer.remaining) + cache_writer.extra_count
            report.count("samples whose statistics were known", known_count)
    all_units = [_reject_uneven_concat(_reject_unseen(unit, statistics, report), statistics, report) for unit in all_units]
    int8_capable = find_int8_capable(all_units)
    full_plan = make_plan(all_units, int8_capable)
    with report.part("ranges"):
        range_reference = ReferenceOutputs(
            equalized, evaluation_feeds[:: max(RANGE_SAMPLE_STRIDE, len(evaluation_feeds) // MAX_RANGE_SAMPLES)], config
        )
        range_selector = RangeSelector(equalized, full_plan, statistics, options, range_reference, config)
        report.warnings += find_calibration_warnings(full_plan, statistics)
        errors = range_selector.measure_errors()
        report.details["ranges"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        best_method = min(methods, key=lambda name: errors.get(name, 0.0))
        release_freed_memory()
    output_errors: dict[str, float] = {}
    history: list[AttemptResult] = []
    fallback_sets: list[tuple[frozenset[str], float]] = []
    position, method = 0, best_method
    while any(unit.has_weights for unit in all_units if unit.name in int8_capable):
        with report.part("placement"):
            qparams = range_selector.get_qparams(method)
            full_plan = make_plan(all_units, int8_capable)
            int8 = _choose_int8_units(equalized, context, full_plan, qparams, options, report)
            release_freed_memory()
        with report.part("mending"):
            source_model, source_units = equalized, all_units
            image_input = None if target.activation_symmetric else image_inputs.find_image_input(equalized, feeds, int8)
            if image_input is not None:
                report.changed["input quantised on its own 256 levels"] = image_input.input_name
                source_model = image_inputs.insert_level_ops(equalized, image_input)
                source_units = find_fusion_groups(source_model, target, options.exclude)
                source_units = image_inputs.keep_level_ops_float(source_units, image_input)
                source_units = int4_linear.mark_int4_units(source_units, int4_layers)
                qparams = replace(qparams, encodings={**qparams.encodings, image_input.levels_name: image_input.encoding})
            plan = make_plan(source_units, int8)
            corrected = build_corrected_model(
                source_model, context, plan, qparams, correction_feeds, reference, image_input=image_input
            )
            result, output_errors = corrected.model, corrected.output_errors
            report.details["mended"] = {
                "way": "mended" if corrected.is_mended else "as rounded",
                "errors": {variant: float(f"{error:.4g}") for variant, error in corrected.variant_errors.items()},
            }
        if int4_layers:
            with report.part("4-bit layers"):
                report.count("linear layers in 4 bits", int4_linear.write_int4_layers(result, int4_layers, feeds, config))
                output_errors = reference.errors(result)
        output_errors = reference.merge_parts(output_errors)
        history.append(AttemptResult(position, max(output_errors.values(), default=0.0)))
        if options.float_units is not None or history[-1].error <= get_max_error(options):
            report.details["calibration"] = method
            if method == "least":
                report.details["methods"] = range_selector.best_methods()
            with report.part("reading back"):
                decision = summarize(corrected, source_units, plan, config, options, report)
            return result, replace(decision, calibration=method)
        with report.part("sparing"):
            fallback_sets = fallback_sets or list(range_selector.propose_fallback_sets(all_units, int8, method))
            next_position = next_attempt(history, [error for _, error in fallback_sets], get_max_error(options))
            if next_position is None:
                break
            position, int8_capable = next_position, fallback_sets[next_position][0]
            errors = range_selector.measure_errors(make_plan(all_units, int8_capable))
            method = min(errors, key=errors.__getitem__, default=best_method)
        report.skip(
            f"{len(fallback_sets[0][0] - int8_capable)} ops",
            f"in int8 they would take an output below {get_min_sqnr_db(options):g} dB of SQNR",
        )
    raise build_sqnr_error(output_errors, options)


def _collect_statistics(
    model: ir.Model,
    context: RunContext,
    names: Sequence[str],
    feeds: CalibrationFeeds,
    cache_writer: CacheWriter | None,
    options: QuantizeOptions,
) -> Statistics:
    """The statistics of the tensors ``names``, as far as ``cache_writer`` does not know them already."""
    memory = None if options.max_memory is None else int(OBSERVATION_MEMORY_SHARE * options.max_memory)

    if cache_writer is None and (workers := current_workers()).is_out_of_process:
        return sharding.collect_sharded_statistics(model, feeds, names, context.config, memory, workers)
    if cache_writer is not None and not len(cache_writer.remaining):
        return cache_writer.merge_all(cache_writer.known_statistics)
    statistics = observe.collect_statistics(
        model, feeds if cache_writer is None else feeds[cache_writer.remaining], names, context.config, context.progress,
        len(feeds), cache_writer=cache_writer, memory_limit=memory,
    )  # fmt: skip
    return statistics if cache_writer is None else cache_writer.merge_all(statistics)


def _reject_unseen(unit: FusionGroup, statistics: Statistics, report: StepReport) -> FusionGroup:
    """``unit``, in float if a tensor of it had no finite value in any sample: there is nothing to take a range from."""
    names = [str(value.name) for value in (*unit.inputs, *unit.outputs)]
    unseen = next((name for name in names if name in statistics.low and not statistics.has_seen(name)), None)
    if unit.why_float is not None or unseen is None:
        return unit
    reason = f"{unseen} had no finite value in any calibration sample"
    report.skip(unit.name, reason)
    return replace(unit, why_float=reason)


def _reject_uneven_concat(unit: FusionGroup, statistics: Statistics, report: StepReport) -> FusionGroup:
    """``unit``, in float if it is a Concat whose one scale would leave one of its inputs next to nothing.

    Boxes in pixels beside scores from 0 to 1, as detectors put them out: the model's error hardly shows it, since the
    boxes are nearly all of its energy, and every score is gone.
    """
    known_names = [name for value in unit.inputs if (name := str(value.name)) in statistics.low]
    spans = {name: span for name in known_names if (span := statistics.high[name] - statistics.low[name]) > 0}
    if unit.op != "Concat" or unit.why_float is not None or not spans:
        return unit
    total_span = max(statistics.high[name] for name in spans) - min(statistics.low[name] for name in spans)
    narrowest = min(spans, key=spans.__getitem__)
    if spans[narrowest] * MAX_CONCAT_RANGE_RATIO >= total_span:
        return unit
    reason = f"one scale for all its inputs would leave {narrowest} less than 4 of 8 bits"
    report.skip(unit.name, reason)
    return replace(unit, why_float=reason)


def _choose_int8_units(
    model: ir.Model,
    context: RunContext,
    full_plan: QuantizationPlan,
    qparams: QuantizationParams,
    options: QuantizeOptions,
    report: StepReport,
) -> frozenset[str]:
    """Which units of ``full_plan`` run in int8; the decision is written down so that a replay needs no clock."""
    all_units, int8_capable = full_plan.units, full_plan.int8
    if options.float_units is not None:
        return int8_capable - frozenset(options.float_units)
    times = placement.estimate_unit_times(model, all_units, TARGETS[options.target].cost_model)
    modeled_int8 = placement.place(all_units, times) & int8_capable
    if options.placement == "static":
        if not any(unit.has_weights for unit in all_units if unit.name in modeled_int8):
            report.warnings.append("by the target's cost model int8 gains nothing here; everything that can be is int8")
            return int8_capable
        return modeled_int8
    if options.placement not in PLACEMENTS:
        raise UsageError(f"--placement {options.placement}: unknown", hint=" or ".join(PLACEMENTS))
    timing_feeds = CalibrationFeeds(context.require_samples("quantize")).first(NUM_TIMING_SAMPLES)
    full_int8 = insert_qdq(model, full_plan, qparams)
    times = placement_profiling.measure_unit_times(model, full_int8, all_units, timing_feeds, context.config, times)
    measured_int8 = placement.place(all_units, times) & int8_capable
    placements = {"everything int8": int8_capable, "static": modeled_int8, "measured": measured_int8}
    # the fewest int8 ops first, since a tie keeps the earlier: an op that gains no time need not lose anything
    weighted = {unit.name for unit in all_units if unit.has_weights}
    sets = {int8: name for name, int8 in placements.items() if int8 & weighted}
    distinct = {name: int8 for int8, name in sorted(sets.items(), key=lambda pair: len(pair[0]))}
    candidates = {
        "float": model,
        **{name: insert_qdq(model, make_plan(all_units, int8), qparams) for name, int8 in distinct.items()},
    }
    best, seconds = placement_profiling.pick_fastest(candidates, timing_feeds, context.config, report)
    if best == "float":
        best = min(distinct, key=seconds.__getitem__)
        timings = f"float {seconds['float'] * 1e3:.3g} ms, the best int8 {seconds[best] * 1e3:.3g} ms"
        if seconds[best] > MAX_SLOWDOWN * seconds["float"]:
            fallback_note, hint = "", "--weights int8 makes the file smaller; --placement static writes int8 all the same"
            if len(int8_capable) < len(find_int8_capable(all_units)):
                fallback_note = (
                    f", once the ops that take an output below {get_min_sqnr_db(options):g} dB of SQNR are in float"
                )
                hint = f"--min-sqnr accepts less; {hint}"
            raise UnsupportedError(
                f"no int8 placement is faster than float on this machine{fallback_note}: {timings}", hint=hint
            )
        report.warnings.append(f"no int8 placement was reliably faster than float on this machine: {timings}")
    return distinct[best]
