"""Which way a model is quantised, and why.

=========  ======================================================  =======================================
way        what is int8                                            pays where
=========  ======================================================  =======================================
static     weights and activations, ranges fixed by calibration    Convs, and whatever stands between them
dynamic    linear and LSTM layers, inputs quantised as they come   transformers, recurrent nets
weights    weights only, computed in float or by blocks            memory and download size
float16    nothing; floats of half the size                        the CUDA provider
=========  ======================================================  =======================================

Left to itself (``activations="auto"``), the choice between static and dynamic is made by modelled cost: the static
placement's least total (``placement.py``) against the same model with its linear layers dynamic and everything else
float. Dynamic ranges cannot be wrong, so they win unless fixed ones are clearly cheaper, which they are as soon as
Convs, or the ops between layers, carry a good part of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.conformance.placement_costs import get_cost_model
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.dynamic.lstm import find_lstm_layers
from onnxslim.quantization.dynamic.lstm_choice import MIN_PAYING_SIZE, estimate_lstm_time
from onnxslim.quantization.dynamic.pipeline import quantize_dynamic
from onnxslim.quantization.float16.pipeline import quantize_float16
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS
from onnxslim.quantization.options import ACTIVATION_MODES, FLOAT_WEIGHTS, LINEAR_FORMATS, QuantizeOptions
from onnxslim.quantization.qdq import placement
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, find_fusion_groups
from onnxslim.quantization.qdq.placement import UnitTimes
from onnxslim.quantization.static.pipeline import quantize_static
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.detect import detect_target, explain_unmeasured
from onnxslim.quantization.targets.registry import get_target
from onnxslim.quantization.weight_only.pipeline import MIXED, parse_weight_format, quantize_weights
from onnxslim.runtime.session import available_providers

DATA_HINT = (
    "give --data: an .npz of inputs by name, a folder of images with --preprocess, or the word random to try it out; "
    "--weights int8, int4, codebook:16 or float16 needs none"
)
#: A way to quantise: (prepared model, what to run it with, options with nothing left to choose, report).
QuantizationScheme = Callable[[ir.Model, QuantizeContext, QuantizeOptions, StepReport], tuple[ir.Model, QuantizeDecision]]
SCHEMES: dict[str, QuantizationScheme] = {
    "static": quantize_static,
    "dynamic": quantize_dynamic,
    "weights": quantize_weights,
    "float16": quantize_float16,
}
#: Dynamic is chosen up to this ratio of its modelled time to the static one's.
DYNAMIC_TIME_MARGIN = 1.1


def resolve_scheme(
    model: ir.Model, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> tuple[str, QuantizeOptions]:
    """The way to go, and ``options`` with what was left open decided; ``report`` is told what and why.

    Raises:
        UsageError: An unknown option, options that contradict each other, or no data where they are needed.
    """
    target = detect_target(context.config) if options.target == "auto" else get_target(options.target)
    if options.placement == "measured" and not target.runs_on(context.config.provider_name):
        report.skip("measured placement", f"times on {context.config.provider} here say nothing about {target.name}")
        options = replace(options, placement="static")
    if options.activations not in ("auto", *ACTIVATION_MODES):
        raise UsageError(f"--activations {options.activations}: unknown", hint=f"one of {', '.join(ACTIVATION_MODES)}")
    for name in ("max_size", "weight_formats"):
        if options.weights != MIXED and getattr(options, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for weights in mixed formats", hint="--weights mixed")
    scheme, reason = options.activations, "asked for"
    if options.weights is not None:
        if scheme != "auto":
            raise UsageError(f"--weights {options.weights} leaves activations in float", hint=f"drop --activations {scheme}")
        if options.weights != MIXED:
            parse_weight_format(options.weights)
        scheme = "weights"
    elif target.unsupported_reason is not None:
        if scheme != "auto":
            raise UsageError(
                f"--target {target.name} --activations {scheme}: {target.unsupported_reason}",
                hint="without --activations: float16",
            )
        scheme, reason = "float16", target.unsupported_reason
    elif context.samples is None:
        raise UsageError("quantize needs data", hint=DATA_HINT)
    elif target.no_contrib_ops_reason is not None:
        if scheme == "dynamic":
            raise UsageError(
                f"--target {target.name} --activations dynamic: it runs static int8 only", hint="drop --activations"
            )
        scheme, reason = "static", reason if scheme == "static" else target.no_contrib_ops_reason
    elif scheme == "auto":
        feed = CalibrationFeeds(context.samples).for_timing(1, context.config, options.placement)[0]
        costs = get_cost_model(target, context.config, options.placement)
        scheme, reason = choose_cheaper_scheme(model, replace(target, cost_model=costs), feed)
    if options.float_weights not in FLOAT_WEIGHTS:
        raise UsageError(f"float_weights {options.float_weights}: unknown", hint=f"one of {', '.join(FLOAT_WEIGHTS)}")
    if options.linear not in LINEAR_FORMATS:
        raise UsageError(f"--linear {options.linear}: unknown", hint=" or ".join(LINEAR_FORMATS))
    if options.linear == "int4" and (scheme != "static" or target.no_contrib_ops_reason is not None):
        raise UsageError(
            f"--linear int4 goes with static int8 for the CPU provider; here it is {scheme} for {target.name}",
            hint="--weights int4 stores the weights of all linear layers in 4 bits",
        )
    if options.linear == "int4" and target.slow_blocks_reason is not None:
        report.warnings.append(f"{target.slow_blocks_reason}: --linear int4 is for its size")
    report.details["way"] = {"way": scheme, "target": target.name, "why": reason}
    report.changed["activations"] = {"weights": "left in float", "float16": "in float16"}.get(scheme, f"quantised, {scheme}")
    report.skip({"static": "dynamic ranges", "dynamic": "fixed ranges"}.get(scheme, "int8 activations"), reason)
    options = replace(options, target=target.name, activations=scheme if scheme in ACTIVATION_MODES else "auto")
    if (warning := explain_unmeasured(target, context.config, available_providers())) is not None:
        report.warnings.append(warning)
    return scheme, options


def choose_cheaper_scheme(model: ir.Model, target: Target, feed: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """``static`` or ``dynamic`` by modelled cost, and the reason in one line.

    Args:
        model: Prepared; not changed.
        target: Whose rows and times apply.
        feed: One sample, for the sizes of free dimensions.
    """
    all_units = find_fusion_groups(model, target)
    times = placement.estimate_unit_times(model, all_units, target.cost_model, shapes.read_dim_sizes(model, feed))
    linear_units = [unit for unit in all_units if unit.has_weights and unit.op in ("MatMul", "Gemm")]
    lstm_times = _estimate_lstm_times(model, times) if "LSTM" in target.dynamic_kernels else []
    if not linear_units and not lstm_times:
        return "static", "the model has no linear layer with constant weights"
    if not any(_has_large_weight(unit) for unit in linear_units) and not lstm_times:
        return "static", f"no linear layer has {MIN_WEIGHT_ELEMENTS} weights, and dynamic ranges leave smaller ones in float"
    int8 = placement.place(all_units, times)
    static_time = placement.estimate_total_time(all_units, int8, times) + sum(lstm_times)
    dynamic_time = estimate_dynamic_time(all_units, linear_units, times) + sum(lstm_times)
    comparison = f"modelled {dynamic_time / 1e3:.0f} us against {static_time / 1e3:.0f} us with fixed ranges"
    if dynamic_time <= DYNAMIC_TIME_MARGIN * static_time:
        layers = "LSTM and linear layers" if lstm_times else "linear layers"
        reason = f"{layers} carry the time and stand between float ops: {comparison}, and no range can be wrong"
        return "dynamic", reason
    return "static", f"fixed ranges are cheaper: {comparison}"


def _has_large_weight(unit: FusionGroup) -> bool:
    weights = (get_const_tensor(value) for value in unit.nodes[0].inputs)
    return any(weight is not None and weight.size >= MIN_WEIGHT_ELEMENTS for weight in weights)


def _estimate_lstm_times(model: ir.Model, times: UnitTimes) -> list[float]:
    """Nanoseconds in int8 of each LSTM that is large enough to gain: its ranges come with its input in both schemes."""
    layers = find_lstm_layers(model)[0]
    return [estimate_lstm_time(layer, times)[1] for layer in layers if layer.size >= MIN_PAYING_SIZE]


def estimate_dynamic_time(all_units: Sequence[FusionGroup], linear_units: Sequence[FusionGroup], times: UnitTimes) -> float:
    """The same with the units ``linear_units`` dynamic: one conversion for each tensor that they read."""
    names = {unit.name for unit in linear_units}
    total = sum(times.int8[unit.name] if unit.name in names else times.floats[unit.name] for unit in all_units)
    input_names = {str(unit.inputs[0].name) for unit in linear_units}
    costs = times.cost_model
    return total + sum(costs.node_overhead + costs.convert * times.elements.get(name, 0.0) for name in input_names)
