"""The float16 scheme: what ``--target cuda`` does instead of int8, and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import observe
from onnxslim.activations.output_error import ReferenceOutputs, to_decibels
from onnxslim.activations.run_context import RunContext
from onnxslim.activations.runtime_types import infer_runtime_types
from onnxslim.core.deadline import NO_TIME_LEFT
from onnxslim.core.errors import NothingGainedError, OnnxslimError
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.float16.fallback import (
    MAX_OUTPUT_ERROR,
    convert_copy,
    keep_accurate,
    keep_runnable,
    rank_nodes,
    simulate,
)
from onnxslim.quantization.float16.float32_nodes import find_float32_nodes, is_float
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import match_nodes
from onnxslim.quantization.sqnr_floor import check_sqnr, is_sqnr_asked
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig, make_run_check

#: Samples that ranges are taken from, and that outputs are compared on.
MAX_OBSERVED_SAMPLES, MAX_EVALUATION_SAMPLES = 64, 16
#: Samples that are made up where there are no data.
_MADE_UP_SAMPLES = 4
_MAX_HINT_LENGTH = 300


def quantize_float16(
    model: ir.Model, context: RunContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) in float16; ranges and outputs decide what else stays float32, without data those of made-up
    inputs: what breaks on these is not right, and what does not may still break on others.

    Raises:
        NothingGainedError: Nothing can compute in float16.
        UsageError: ``min_sqnr`` without data.
        GateError: The outputs keep less than ``min_sqnr``.
    """
    target, config = TARGETS[options.target], context.config
    asks_sqnr = is_sqnr_asked(options, context.samples)
    report.skip("int8", str(target.unsupported_reason))
    model = model_file.clone(model)
    infer_runtime_types(model, config)
    samples = context.samples or _make_up_samples(model, config)
    feeds = None if samples is None else CalibrationFeeds(samples)
    peaks = {} if feeds is None else _observe_peaks(model, feeds, config)
    context.progress("float16", 1, 2)
    found = find_float32_nodes(model, peaks)
    if context.samples is None:
        found = {**found, **find_float32_nodes(model, {})}
    float32_nodes = {str(node.name): why for node, why in found.items()}
    float32_nodes.update(dict.fromkeys(match_nodes(model, options.exclude), "it was excluded"))
    conversion = convert_copy(model, float32_nodes)
    if not conversion.counts["nodes in float16"]:
        raise NothingGainedError("no node can compute in float16", hint="trees, texts and integers have no float16 kernels")
    pacer = context.pace()
    conversion = keep_runnable(model, conversion, None if feeds is None else next(iter(feeds)), config, pacer.fits)
    by = "constants, types and kinds of op decided what stays float32"
    told = None if context.samples is not None else f"no data: {by}; ranges were not looked at"
    if feeds is not None:
        evaluation = feeds.last(MAX_EVALUATION_SAMPLES)
        reference = ReferenceOutputs(model, evaluation, config)
        better, error = keep_accurate(model, conversion, reference, evaluation, config, pacer.fits)
        if context.samples is None and not error <= MAX_OUTPUT_ERROR:  # noise is no reason to give up what nothing mends
            error = reference.error(simulate(model, conversion))
        else:
            conversion = better
        if asks_sqnr:
            errors = reference.merge_parts(reference.errors(simulate(model, conversion)))
            check_sqnr(errors, options, form="float16", instead="--exclude keeps nodes in float32")
        report.details["float16"] = {"error": float(f"{error:.4g}")}
        # real inputs may lose more than made-up ones: without data the place is told whatever these say
        if context.samples is None or not error <= MAX_OUTPUT_ERROR:
            tried = NO_TIME_LEFT if pacer.has_refused else "whatever else stays float32"
            told = _describe_loss(error, tried, rank_nodes(model, conversion, evaluation, config, pacer.fits))
        if context.samples is None:
            told = f"no data: {by}, and ranges and outputs on made-up inputs, on which {told}"
    if told is not None:
        report.warnings.append(told)
    if not conversion.counts["nodes in float16"]:
        reasons = "; ".join(dict.fromkeys(conversion.float32_nodes.values()))
        raise NothingGainedError("no node can stay in float16", hint=reasons[:_MAX_HINT_LENGTH])
    report.changed.update(conversion.counts)
    for name, why in conversion.float32_nodes.items():
        report.skip(name, why)
    return conversion.model, QuantizeDecision("float16", target.name)


def _describe_loss(error: float, tried: str, ranking: Sequence[str]) -> str:
    """What the outputs keep, ``tried`` where that is too little, and the node of the ``ranking`` at which most is lost."""
    kept = "the outputs are the same" if error == 0 else f"the outputs keep {-to_decibels(error):.1f} dB"
    how = "" if error <= MAX_OUTPUT_ERROR else f", {tried}"
    return f"{kept} in float16{how}" + (f"; most of it is lost at {ranking[0]}" if ranking else "")


def _make_up_samples(model: ir.Model, config: SessionConfig) -> Samples | None:
    """A few samples at random; None where the model does not run with any."""
    find_error = make_run_check(model, config)
    try:
        samples = open_samples("random", model, max_samples=_MADE_UP_SAMPLES, run_check=find_error)
        return samples if find_error(next(samples.batches(1))) is None else None
    except OnnxslimError:
        return None


def _observe_peaks(model: ir.Model, feeds: CalibrationFeeds, config: SessionConfig) -> dict[str, float]:
    """The largest finite magnitude of every float tensor that is fed or computed; a mask's infinities are infinite in
    float16 too.
    """
    observed_feeds = feeds.first(MAX_OBSERVED_SAMPLES)
    float_names = [
        str(output.name)
        for node in model.graph
        for output in node.outputs
        if output.dtype == ir.DataType.FLOAT and isinstance(output.type, ir.TensorType)
        if node.op_type != "Constant" and output.name
    ]

    def find_peak(index: int, name: str, array: np.ndarray) -> float | None:
        finite = array[np.isfinite(array)]
        return float(np.abs(finite).max()) if finite.size else None

    peaks = observe(model, float_names, observed_feeds, find_peak, config)
    for name in (str(value.name) for value in model.graph.inputs if is_float(value)):
        peaks[name] = [find_peak(index, name, feed[name]) for index, feed in enumerate(observed_feeds) if name in feed]
    known = {name: [peak for peak in values if peak is not None] for name, values in peaks.items()}
    return {name: max(values) for name, values in known.items() if values}
