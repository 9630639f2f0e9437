"""Weights alone, each in the bits that it needs: ``--weights mixed``.

Every weight may be stored in 2, 4 or 8 bits, in small blocks or large ones, with zero points or without (:mod:`.formats`;
which of them run well is asked of the installed runtime). What each choice costs the outputs is estimated
(:mod:`.sensitivity`), choices are made by what is lost for the bytes that are saved
(:mod:`onnxslim.quantization.numerics.bit_allocation`), and of that front the point is taken that a size or a loss asks for
(:mod:`.selection`). Layers are rounded with error feedback (GPTQ).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.deadline import NO_TIME_LEFT, seconds_left
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.graph.cost import count_params
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.conformance.block_kernels import find_block_formats, find_table_formats
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.decision import FrontPoint, QuantizeDecision
from onnxslim.quantization.linear_layers import find_weight_matrices
from onnxslim.quantization.numerics.bit_allocation import Allocation, walk_allocations
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.recorded_decisions import check_names, check_samples
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only.mixed.builder import MixedBuilder
from onnxslim.quantization.weight_only.mixed.choice import find_expanded, parse_formats, read_choice, write_choice
from onnxslim.quantization.weight_only.mixed.formats import BlockFormats, MixedWeight, find_mixed_weights
from onnxslim.quantization.weight_only.mixed.second_moments import count_affordable_runs, count_runs
from onnxslim.quantization.weight_only.mixed.selection import SizeMeter, select_by_loss, select_by_size, thin_front
from onnxslim.quantization.weight_only.mixed.sensitivity import estimate_losses
from onnxslim.quantization.weight_only.weights import WeightTensor
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave

#: Samples that times are measured on, and points of the front that are shown and timed.
NUM_TIMING_SAMPLES, NUM_SHOWN = 4, 5
_TIMING_SECONDS = 1.5
#: Of a model's parameters, those that blocks have to fit for bits to be chosen one by one unasked.
_MIN_HELD_SHARE = 0.5
#: Bytes of weights in all up to which points are timed side by side.
_MAX_TIMED_BYTES = 400_000_000


def quantize_mixed(
    model: ir.Model, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) with its weights in a format each.

    Args:
        model: It is not changed.
        context: Data that losses are measured on and layers are fitted to.
        options: With ``weight_formats`` of an earlier run those; else by ``max_size``, or by what the outputs may lose.
        report: Told of the front.

    Raises:
        UsageError: Neither a size nor a loss to choose by, or no data.
        UnsupportedError: The target does not run onnxruntime's own ops, or there is nothing to store in fewer bits.
        InvalidDataError: ``fitted_weights`` or formats of a weight that is not there, ``calibration_samples`` of more than
            there are.
        GateError: A size that cannot be reached, or an SQNR.
    """
    samples, given = context.require_samples("--weights mixed"), options.weight_formats
    check_options(context, options)
    feeds, config = CalibrationFeeds(samples), context.config
    check_samples(options, len(feeds))
    if given is None:
        weights = find_mixed_weights(model, _find_formats(context, options, report), options.exclude)
    else:
        formats = BlockFormats(*[parse_formats(given)] * 2)
        weights = find_mixed_weights(model, formats, options.exclude, find_expanded(given))
    if not weights:
        raise UnsupportedError("nothing to quantise: no layer has float weights that fewer bits would make smaller")
    check_names("fitted_weights", options.fitted_weights or (), {weight.name for weight in weights}, "weight with a choice")
    run_count = _count_runs(model, weights, context, options, report)
    moment_feeds = feeds.with_prompts(count_runs(model, feeds) if run_count is None else run_count)
    make_builder = partial(
        MixedBuilder, model, weights, options.exclude, feeds=moment_feeds, config=config, pace=context.pace,
        fitted=options.fitted_weights,
    )  # fmt: skip
    points, place = tuple[FrontPoint, ...](), None
    if given is not None:
        builder, chosen = make_builder(), read_choice(given, weights)
    else:
        with report.part("losses"):
            losses = estimate_losses(
                model, weights, feeds, moment_feeds=moment_feeds, states=list(samples.state), config=config,
                fits=context.pace(share=0.5).fits,
            )  # fmt: skip
        front = walk_allocations([_count_bytes(weight) for weight in weights], losses)
        by_format = {
            (weight.name, text): float(loss)
            for weight, found in zip(weights, losses, strict=True)
            for text, loss in zip(weight.formats, found, strict=True)
        }
        builder = make_builder(losses=by_format)
        meter = SizeMeter(model, builder, options)
        if options.max_size is not None:
            index = select_by_size(front, options.max_size, lambda i: meter.measure(_name(front[i], weights)))
        else:
            index = select_by_loss(
                model, front, lambda i: builder.build(_name(front[i], weights))[0], context, options, report
            )
            shown = thin_front(front)
            points, place = _make_points([front[i] for i in shown], weights), shown.index(index)
        chosen = _name(front[index], weights)
        with report.part("front"):
            is_timed = options.placement == "measured"
            report.details["storage"] = _describe_front(
                front, index, weights, builder=builder, meter=meter, context=context, is_timed=is_timed
            )
    with report.part("rounding"):
        result, written = builder.build(chosen)
    report.add(written)
    if builder.fitted is not None:
        report.skip(f"weights besides {len(builder.fitted)}", f"rounding for the data: {NO_TIME_LEFT}")
    if expanded := sum(isinstance(weight.stored, WeightTensor) for weight in weights):
        report.warnings.append(
            f"{expanded} weights are not read in blocks but expanded when the model is loaded: that makes the file smaller, "
            "not the inference faster"
        )
    context.progress("weights", 1, 1)
    return result, QuantizeDecision(
        "weights", options.target, weight_formats=write_choice(chosen), calibration_samples=run_count,
        fitted_weights=builder.fitted, front=points, front_index=place,
    )  # fmt: skip


def _count_runs(
    model: ir.Model,
    weights: Sequence[MixedWeight],
    context: QuantizeContext,
    options: QuantizeOptions,
    report: StepReport,
) -> int | None:
    """How many runs moments are taken of where there is, or was, no time for all; else None."""
    if options.calibration_samples is not None or context.deadline is None:
        return options.calibration_samples
    feeds = CalibrationFeeds(context.require_samples("--weights mixed"))
    count = count_affordable_runs(model, weights, feeds, context.config, seconds_left(context.deadline))
    if count == count_runs(model, feeds):
        return None
    report.skip(f"runs after the first {count}", NO_TIME_LEFT)
    return count


def is_worth_mixing(model: ir.Model, config: SessionConfig, *, by_time: bool) -> bool:
    """Whether bits for each weight may be worth the time that choosing them takes.

    They are where ``model`` looks rows of tables up, as whatever reads tokens does, most of its parameters are in such
    tables and in linear layers, and the runtime multiplies with fewer than 8 bits, ``by_time`` also fast enough.
    """
    matrices = find_weight_matrices(model)[0]
    held = sum(matrix.array.size for matrix in matrices)
    if not any(matrix.tables for matrix in matrices) or held < _MIN_HELD_SHARE * count_params(model):
        return False
    return any(block_format.bits < 8 for block_format in find_block_formats(config, by_time=by_time))


def _find_formats(context: QuantizeContext, options: QuantizeOptions, report: StepReport) -> BlockFormats:
    """The formats of blocks that are offered: none where the target reads them slowly."""
    if (reason := TARGETS[options.target].slow_blocks_reason) is not None:
        report.skip("MatMulNBits", reason)
        return BlockFormats([], [])
    with report.part("kernels"):
        products = find_block_formats(context.config, by_time=options.placement == "measured")
        report.details["kernels"] = [str(found) for found in products]
        return BlockFormats(products, find_table_formats(context.config))


def check_options(context: QuantizeContext, options: QuantizeOptions) -> None:
    """Refuse what says nothing to choose by, or a target that does not run blocks."""
    if (reason := TARGETS[options.target].no_contrib_ops_reason) is not None:
        raise UnsupportedError(f"--weights mixed: {reason}", hint="--weights int4:qdq stores 4 bits in standard ops")
    is_asked = options.max_size is not None or options.min_sqnr is not None or context.drop_over_limit is not None
    if options.weight_formats is None and not is_asked:
        raise UsageError(
            "--weights mixed: expected a size or a loss to choose by", hint="--max-size 4MB, --max-drop 1% or --min-sqnr 30"
        )


def _count_bytes(weight: MixedWeight) -> np.ndarray:
    return np.array([weight.count_bytes(text) for text in weight.formats], np.float64)


def _make_points(front: Sequence[Allocation], weights: Sequence[MixedWeight]) -> tuple[FrontPoint, ...]:
    """The choices of ``front`` as whoever steps down along it takes them; what an inference takes is about the same."""
    choices = [write_choice(_name(point, weights)) for point in front]
    return tuple(FrontPoint((), point.loss, 0.0, weight_formats=c) for point, c in zip(front, choices, strict=True))


def _name(point: Allocation, weights: Sequence[MixedWeight]) -> dict[str, str]:
    return {weight.name: weight.formats[choice] for weight, choice in zip(weights, point.choices, strict=True)}


def _describe_front(
    front: Sequence[Allocation],
    index: int,
    weights: Sequence[MixedWeight],
    *,
    builder: MixedBuilder,
    meter: SizeMeter,
    context: QuantizeContext,
    is_timed: bool,
) -> list[dict[str, Any]]:
    """Some points from the fewest bytes to the least loss, the chosen one among them: bytes, loss, and what a step takes."""
    sizes = np.array([point.nbytes for point in front])
    wanted = np.geomspace(sizes[0], sizes[-1], NUM_SHOWN)
    shown = sorted({int(np.abs(sizes - size).argmin()) for size in wanted} | {index})
    entries: list[dict[str, Any]] = [
        {"bytes": meter.measure(_name(front[i], weights)), "loss": float(f"{front[i].loss:.3g}"), "chosen": i == index}
        for i in shown
    ]
    if is_timed and sum(sizes[i] for i in shown) <= _MAX_TIMED_BYTES:
        feeds = CalibrationFeeds(context.require_samples("timing"))
        timing_feeds = feeds.for_timing(NUM_TIMING_SAMPLES, context.config, "measured")
        sessions = {str(i): open_timed_session(builder.sketch(_name(front[i], weights)), context.config) for i in shown}
        timing = interleave(sessions, timing_feeds, rounds=30, seconds=_TIMING_SECONDS)
        for i, entry in zip(shown, entries, strict=True):
            entry["ms"] = round(timing.median(str(i)) * 1e3, 4)
    return entries
