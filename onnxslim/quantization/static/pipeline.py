"""The static way: ranges of activations known from data, int8 in QDQ form, placed where the runtime gains by it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.activations.working_set import estimate_peak_bytes, limit_batch_size
from onnxslim.core.deadline import NO_TIME_LEFT, seconds_left, stop_after
from onnxslim.core.memory_budget import scale_bytes
from onnxslim.core.step_report import StepReport
from onnxslim.core.workers import current_workers
from onnxslim.graph import cost
from onnxslim.quantization.calibration import observe, range_methods, sharding
from onnxslim.quantization.calibration.cache import CacheFiles, CacheWriter
from onnxslim.quantization.calibration.feeds import CalibrationFeeds, count_affordable_samples
from onnxslim.quantization.calibration.histograms import Statistics
from onnxslim.quantization.calibration.range_selection import RangeSelector
from onnxslim.quantization.calibration.warnings import find_calibration_warnings
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.dynamic.lstm_choice import choose_lstms
from onnxslim.quantization.evaluation.group_losses import select_loss_feeds
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.placement_selection import SelectedPlacement, select_milder_placement, select_placement
from onnxslim.quantization.prepare import build_no_layers_error
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, find_fusion_groups, make_plan
from onnxslim.quantization.qdq.mean_to_pool import replace_means_with_pools
from onnxslim.quantization.qdq.pad_axes import write_out_pad_axes
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.recorded_decisions import check_layers, check_samples
from onnxslim.quantization.sqnr_floor import build_sqnr_error
from onnxslim.quantization.static import output_head
from onnxslim.quantization.static.builder import BuiltPlacement, StaticBuilder
from onnxslim.quantization.static.equalization_stats import collect_equalization_statistics, equalize_copy
from onnxslim.quantization.static.fastest_placement import check_faster, choose_fastest
from onnxslim.quantization.static.summary import summarize
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only import int4_linear
from onnxslim.quantization.weight_only.float_layers import store_some_weights
from onnxslim.runtime.memory import release_freed_memory

#: Samples that times are measured on.
NUM_TIMING_SAMPLES = 8
#: Samples that results are judged on, at least and at most: between them what this many multiply-accumulates pay for. A
#: few answers that flip decide what a classifier loses, so that many samples are wanted where they are cheap.
MIN_EVALUATION_SAMPLES, MAX_EVALUATION_SAMPLES, EVALUATION_MACS = 32, 128, 12e9
#: Samples that layers are mended on, likewise.
MIN_CORRECTION_SAMPLES, MAX_CORRECTION_SAMPLES, CORRECTION_MACS = 32, 128, 10e9
#: Bytes that the activations of those may take while layers are mended, about half of them being codes; of large maps a few
#: samples show as many rows, but so many there are at least.
MAX_CORRECTION_BYTES, MIN_LARGE_SAMPLES = 192_000_000, 8
#: Ranges are compared on one in so many of those, and on so many at most.
RANGE_SAMPLE_STRIDE, MAX_RANGE_SAMPLES = 4, 16
#: Of the time that is left, what comparing ranges may take: mending comes after it and wins more.
RANGES_SHARE = 0.3
#: Inputs of a Concat whose ranges differ by more than this do not share a scale.
MAX_CONCAT_RANGE_RATIO = 16.0
#: Of the memory that may be used, what watching activations may take beside the model and its own activations; and where
#: nobody says, of what is planned with.
OBSERVATION_MEMORY_SHARE, OBSERVATION_BYTES = 0.25, 256_000_000


def quantize_static(
    model: ir.Model, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) in static int8; :func:`onnxslim.quantization.step.quantize` says the rest."""
    config = context.config
    target, methods = TARGETS[options.target], range_methods.parse_methods(options.calibration)
    with report.part("preparing"):
        report.count("means written as pools", replace_means_with_pools(model, target))
        report.count("pads written out for every axis", write_out_pad_axes(model))
        feeds = CalibrationFeeds(context.require_samples("quantize"))
        check_samples(options, len(feeds))
        macs = max(cost.compute_cost(model).macs, 1)
        evaluation_count = int(min(max(EVALUATION_MACS / macs, MIN_EVALUATION_SAMPLES), MAX_EVALUATION_SAMPLES))
        correction_feeds = feeds.first(_count_correction_samples(model, feeds, macs))
        evaluation_feeds = feeds[-evaluation_count:]
        started = time.monotonic()
        reference = ReferenceOutputs(model, evaluation_feeds, config)
        run_seconds = (time.monotonic() - started) / len(evaluation_feeds)
        sample_count = options.calibration_samples or len(feeds)
        if context.deadline is not None and not options.statistics and options.calibration_samples is None:
            sample_count = count_affordable_samples(len(feeds), run_seconds, seconds_left(context.deadline))
        if sample_count < len(feeds):
            report.skip(f"calibration samples after the first {sample_count}", NO_TIME_LEFT)
            feeds = feeds[:sample_count]
            options = replace(options, calibration_samples=sample_count)
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
        observe.check_seen(statistics, equalized, feeds, config)
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
        report.warnings += find_calibration_warnings(
            full_plan, statistics, context.require_samples("quantize").fixed_batch or 1
        )
        errors = range_selector.measure_errors(pacer=context.pace(share=RANGES_SHARE))
        report.details["ranges"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        best_method = min(errors, key=errors.__getitem__, default=next(iter(methods)))
        release_freed_memory()
    if not any(unit.has_weights for unit in all_units if unit.name in int8_capable):
        raise build_no_layers_error(model, "Conv, Gemm or MatMul with float32 weights can run in int8")
    with report.part("LSTM layers"):
        lstms = choose_lstms(equalized, context, options, report)
    check_layers(options, equalized, (*(unit.name for unit in all_units), *lstms))
    builder = StaticBuilder(
        equalized, all_units, feeds, correction_feeds, reference, range_selector, None,
        select_loss_feeds(model, feeds), best_method, int4_layers, lstms, context, options, report,
    )  # fmt: skip
    judge = Judge(context, options)
    given = None if options.float_units is None else (int8_capable | builder.int8_lstms) - frozenset(options.float_units)
    if given is not None and options.loss_share is None:
        built = builder.build(given)
        return _summarize(SelectedPlacement(built, judge.take_smallest(built.variants)), builder)
    timing_feeds = feeds.for_timing(NUM_TIMING_SAMPLES, config, options.placement)
    with report.part("placement"):
        qparams = range_selector.get_qparams(best_method)
        fastest = choose_fastest(
            equalized, full_plan, qparams, timing_feeds, options, config=config, report=report,
            may_be_empty=bool(builder.int8_lstms),
        )  # fmt: skip
        release_freed_memory()
    builder = replace(builder, times=fastest.times)
    if given is None:
        selected = select_placement(model, builder, judge, fastest.int8 | builder.int8_lstms, context, report)
        selected = store_some_weights(
            selected, reference, builder.loss_feeds, judge, context=context, options=options, report=report
        )
    else:
        selected = select_milder_placement(builder, given, options.loss_share or 0.0, context, report)
    if selected.selection is not None and selected.selection.index is None and not judge.is_drop_judged:
        raise build_sqnr_error(selected.variant.output_errors, options)
    if selected.index and options.placement == "measured":
        with report.part("placement"):
            check_faster(model, selected.variant.model, timing_feeds, config, judge.why_float, report)
    return _summarize(selected, builder)


def _count_correction_samples(model: ir.Model, feeds: CalibrationFeeds, macs: int) -> int:
    """On how many samples layers are mended: as many as their time and their memory allow, whatever the machine."""
    count = int(min(max(CORRECTION_MACS / macs, MIN_CORRECTION_SAMPLES), MAX_CORRECTION_SAMPLES))
    held_bytes = estimate_peak_bytes(model, next(iter(feeds))) / 2
    return max(limit_batch_size(held_bytes, count, MAX_CORRECTION_BYTES), MIN_LARGE_SAMPLES)


def _summarize(selected: SelectedPlacement[BuiltPlacement], builder: StaticBuilder) -> tuple[ir.Model, QuantizeDecision]:
    """The model that was selected, and the decision; the report is told of both."""
    built, variant, report, options = selected.built, selected.variant, builder.report, builder.options
    if built.image_input is not None:
        report.changed["input quantised on its own 256 levels"] = built.image_input
    report.details["mended"] = {
        "way": "mended" if built.corrected.is_mended else "as rounded",
        "errors": {name: float(f"{error:.4g}") for name, error in built.corrected.variant_errors.items()},
    }
    stopped_after = built.corrected.stopped_after
    if stopped_after is not None:
        report.skip(f"layers after the first {stopped_after}", f"mending: {NO_TIME_LEFT}")
    report.count("linear layers in 4 bits", built.int4_count)
    report.count("LSTM layers in int8", len(built.int8 & built.lstms))
    report.details["calibration"] = built.method
    if built.method == "least":
        report.details["methods"] = builder.range_selector.best_methods()
    selected.describe(report)
    with report.part("reading back"):
        decision = summarize(variant.model, built, builder.context.config, options, report)
    return variant.model, replace(
        decision, calibration=built.method, float_weights=variant.float_weights, front=selected.front,
        large_weights=selected.large_weights or options.large_weights,
        front_index=selected.index, mixed_reason=selected.reason, corrected_layers=stopped_after,
        calibration_samples=options.calibration_samples,
    )  # fmt: skip


def _collect_statistics(
    model: ir.Model,
    context: QuantizeContext,
    names: Sequence[str],
    feeds: CalibrationFeeds,
    cache_writer: CacheWriter | None,
    options: QuantizeOptions,
) -> Statistics:
    """The statistics of the tensors ``names``, as far as ``cache_writer`` does not know them already."""
    progress = stop_after(context.deadline, context.progress, "statistics")
    planned = scale_bytes(OBSERVATION_BYTES)
    memory = planned if options.max_memory is None else int(OBSERVATION_MEMORY_SHARE * options.max_memory)

    if cache_writer is None and (workers := current_workers()).is_out_of_process:
        return sharding.collect_sharded_statistics(model, feeds, names, context.config, memory, workers)
    if cache_writer is not None and not len(cache_writer.remaining):
        return cache_writer.merge_all(cache_writer.known_statistics)
    statistics = observe.collect_statistics(
        model, feeds if cache_writer is None else feeds[cache_writer.remaining], names, context.config, progress,
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
