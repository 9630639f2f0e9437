"""Which LSTM layers run in int8, and what their inputs are divided by: one run of the float model with int8 twins.

Beside every LSTM stands, in a copy of the model, the int8 one, reading the same float inputs; and where smoothing promises
something, another that reads them smoothed. What a twin's outputs differ by is what int8 costs the layer, and the profile of
the same run tells both times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import observe
from onnxslim.activations.output_error import energy, relative_error, squared_error, to_decibels
from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.dynamic.layer_error import is_observable, observe_inputs
from onnxslim.quantization.dynamic.lstm import LstmForm, LstmLayer, add_int8_lstm, find_lstm_layers
from onnxslim.quantization.dynamic.shared_ranges import SHARED_RANGE_REASON, find_spoiled_layers
from onnxslim.quantization.dynamic.smoothquant import MIN_MUL_GAIN_DB, choose_strength
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.placement import UnitTimes
from onnxslim.quantization.sqnr_floor import get_min_sqnr_db
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.node_profile import measure_node_times
from onnxslim.runtime.session import SessionConfig

#: Weights of one direction from which on int8 is faster where nothing is measured: 96 inputs and hidden units are.
MIN_PAYING_SIZE = 1 << 16
#: A measured layer must take less than this share of its time in float, or than the second where its size says that it pays:
#: a profile counts whole microseconds, and weights that it finds in the cache a program reads from memory.
MAX_TIME_RATIO, MAX_LARGE_TIME_RATIO = 0.95, 1.1
#: Decibels that the layer's own outputs must gain by a smoothed input.
_MIN_SMOOTHING_GAIN_DB = 3.0
#: One scale a direction is taken where the layer's own outputs keep so many decibels, or as many as with a scale for each
#: output up to the second number.
GOOD_SQNR_DB, _MAX_PER_OUTPUT_GAIN_DB = 38.0, 1.0
#: Values kept of one tensor of one sample.
_MAX_SAMPLED_VALUES = 1 << 16
#: Samples that layers are looked at on, and runs that they are timed on.
_MAX_OBSERVED_SAMPLES, _MAX_TIMED_RUNS = 64, 4


@dataclass(frozen=True)
class LstmChoice:
    """What becomes of one layer.

    Attributes:
        form: How it is written in int8.
        error: Relative squared error of its own outputs in int8; None where it cannot be seen (inside a body).
        why_float: Why it stays float, or None.
    """

    form: LstmForm
    error: float | None = None
    why_float: str | None = None


def choose_lstms(
    model: ir.Model, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> dict[str, LstmChoice]:
    """What becomes of the LSTM layers of ``model``, by name; those that stay float are told why.

    Args:
        model: The float model.
        context: Has the samples.
        options: The target, what is excluded, and what an earlier run left in float (``float_units``).
        report: Told.
    """
    target = TARGETS[options.target]
    if "LSTM" not in target.dynamic_kernels:
        return {}
    layers, skipped = find_lstm_layers(model, options.exclude)
    report.skipped += skipped
    # what a metric judges goes back to float along the front
    recorded, is_judged = options.float_units, context.drop_over_limit is not None
    why_left = "it went back to float for accuracy, or gained no time"
    left = [layer for layer in layers if recorded is not None and layer.name in recorded]
    choices = {layer.name: LstmChoice(LstmForm(), why_float=why_left) for layer in left}
    if open_layers := [layer for layer in layers if layer.name not in choices]:
        samples = context.require_samples("quantize")
        feeds = CalibrationFeeds(samples)
        seen = feeds.spread(_MAX_OBSERVED_SAMPLES)
        choices |= choose_lstm_layers(
            model, open_layers, seen,
            feeds.for_timing(_MAX_TIMED_RUNS, context.config, options.placement), context.config,
            placement=options.placement if recorded is None else "recorded",
            min_sqnr=0.0 if is_judged and options.min_sqnr is None else get_min_sqnr_db(options),
            reduce_range=target.saturating_pairs,
        )  # fmt: skip
        observed = observe_inputs(model, open_layers, seen, context.config)
        for layer in find_spoiled_layers(open_layers, observed, report, runs_alone=samples.fixed_batch == 1):
            choices[layer.name] = replace(choices[layer.name], why_float=SHARED_RANGE_REASON)
    for name, choice in choices.items():
        if choice.why_float is not None:
            report.skip(name, choice.why_float)
    smoothed = sum(choice.form.factors is not None and choice.why_float is None for choice in choices.values())
    report.count("smoothed inputs of LSTM layers", smoothed)
    return choices


def choose_lstm_layers(
    model: ir.Model,
    layers: Sequence[LstmLayer],
    feeds: Sequence[Mapping[str, np.ndarray]],
    timing_feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    placement: str,
    min_sqnr: float,
    reduce_range: bool = False,
) -> dict[str, LstmChoice]:
    """What becomes of each of ``layers``, by name.

    Args:
        model: The float model.
        layers: Its LSTMs (:func:`~onnxslim.quantization.dynamic.lstm.find_lstm_layers`).
        feeds: Samples to look at.
        timing_feeds: What is timed.
        config: Where they run.
        placement: ``measured`` by the clock, ``static`` by size, ``recorded``: all that are given are int8.
        min_sqnr: Decibels that the outputs of a layer must keep in int8.
        reduce_range: Leave room for sums of two products in 16 bits.
    """
    # what is divided by is found on one half of the samples and judged on the other: a peak of few samples is no outlier
    factors = _propose_factors(model, layers, feeds[::2], config)
    with_twins = model_file.clone(model)
    editor = GraphEditor(with_twins.graph)
    names = {layer.name for layer in layers}
    twins: dict[str, dict[LstmForm, ir.Node]] = {}
    for layer in find_lstm_layers(with_twins)[0]:
        if layer.name in names and is_observable(with_twins, layer):
            divisors = [None, *([factors[layer.name]] if layer.name in factors else [])]
            forms = [LstmForm(divisor, per_output) for divisor in divisors for per_output in (True, False)]
            twins[layer.name] = {form: add_int8_lstm(editor, layer, form, reduce_range=reduce_range) for form in forms}
    errors = _measure_errors(with_twins, twins, feeds[1::2] or feeds, config)
    times = measure_node_times(with_twins, timing_feeds, config, runs=10) if placement == "measured" and twins else {}
    choices = {}
    for layer in layers:
        form, error = _choose_form(errors.get(layer.name, {}))
        node_names = [layer.name, *([str(twins[layer.name][form].name)] if layer.name in twins else [])]
        node_times = [times[name].seconds for name in node_names if name in times]
        why = None if placement == "recorded" else _explain_float(layer, error, node_times, min_sqnr)
        choices[layer.name] = LstmChoice(form, error, why)
    return choices


def estimate_lstm_time(layer: LstmLayer, times: UnitTimes) -> tuple[float, float]:
    """Nanoseconds of ``layer`` in float and in int8, by the target's cost of a product; a sequence of unknown length counts
    as one step.
    """
    steps = max(times.elements.get(str(layer.activation.name), 0.0) / layer.weights.shape[2], 1.0)
    macs, costs = steps * (layer.weights.size + layer.recurrence.size), times.cost_model
    return macs * costs.dense_mac[0], macs * costs.dense_mac[1]


def _choose_form(errors: Mapping[LstmForm, float]) -> tuple[LstmForm, float | None]:
    """The quickest of the forms that are good enough, and its error; a layer that cannot be seen gets the most exact one."""
    if not errors:
        return LstmForm(), None
    decibels = {form: -to_decibels(max(error, 1e-30)) for form, error in errors.items()}
    plain, *others = [form for form in errors if form.per_output]
    best = next((form for form in others if decibels[form] >= decibels[plain] + _MIN_SMOOTHING_GAIN_DB), plain)
    quick = next(form for form in errors if form.factors is best.factors and not form.per_output)
    is_good = decibels[quick] >= min(GOOD_SQNR_DB, decibels[best] - _MAX_PER_OUTPUT_GAIN_DB)
    chosen = quick if is_good else best
    return chosen, errors[chosen]


def _explain_float(layer: LstmLayer, error: float | None, node_times: Sequence[float], min_sqnr: float) -> str | None:
    if error is not None and -to_decibels(max(error, 1e-30)) < min_sqnr:
        return f"its outputs would keep {-to_decibels(max(error, 1e-30)):.0f} dB in int8, where {min_sqnr:.0f} are asked for"
    if len(node_times) == 2:
        float_time, int8_time = node_times
        if int8_time >= (MAX_LARGE_TIME_RATIO if layer.size >= MIN_PAYING_SIZE else MAX_TIME_RATIO) * float_time:
            return f"int8 gains no time here: {int8_time * 1e6:.0f} us against {float_time * 1e6:.0f}"
    elif layer.size < MIN_PAYING_SIZE:
        return f"int8 gains no time with fewer than {MIN_PAYING_SIZE} weights a direction"
    return None


def _propose_factors(
    model: ir.Model, layers: Sequence[LstmLayer], feeds: Sequence[Mapping[str, np.ndarray]], config: SessionConfig
) -> dict[str, np.ndarray]:
    """Factors for the inputs of those layers whose products with them would gain, by layer."""
    observed = observe_inputs(model, layers, feeds, config)
    proposed = {}
    for layer in layers:
        if (activation := observed.get(str(layer.activation.name))) is not None:
            factors, _, gain = choose_strength(activation, [layer.input_matrix])
            if gain >= MIN_MUL_GAIN_DB:
                proposed[layer.name] = factors
    return proposed


def _measure_errors(
    model: ir.Model,
    twins: Mapping[str, Mapping[LstmForm, ir.Node]],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
) -> dict[str, dict[LstmForm, float]]:
    """The relative squared error of the worst output of each twin."""
    nodes = {str(node.name): node for node in model.graph if node.op_type == "LSTM"}
    outputs = {name: _list_outputs(nodes[name]) for name in twins}
    twin_outputs = {form: _list_outputs(node) for forms in twins.values() for form, node in forms.items()}

    def sample(index: int, name: str, array: np.ndarray) -> np.ndarray:
        flat = array.reshape(-1)
        return flat[:: -(-max(flat.size, 1) // _MAX_SAMPLED_VALUES)].copy()

    names = [name for values in (*outputs.values(), *twin_outputs.values()) for name in values]
    observed = observe(model, names, feeds, sample, config)
    # cell states are many times larger than what the layer gives out: the worst output counts
    return {
        name: {
            form: max(
                _compare(observed[one], observed[other])
                for one, other in zip(outputs[name], twin_outputs[form], strict=True)
            )
            for form in forms
        }
        for name, forms in twins.items()
    }


def _list_outputs(node: ir.Node) -> list[str]:
    return [str(value.name) for value in node.outputs if value.name]


def _compare(references: Sequence[np.ndarray], arrays: Sequence[np.ndarray]) -> float:
    noise = sum(squared_error(a, b) for a, b in zip(references, arrays, strict=True))
    return relative_error(noise, sum(map(energy, references)))
