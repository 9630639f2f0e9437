"""Mixed precision: the layers that cost most go back to float, as few as the result's own measured drop asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups
from onnxslim.quantization.qdq.mean_to_pool import replace_means_with_pools
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.static.layer_sensitivity import measure_layer_sensitivity
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig


@dataclass(frozen=True)
class MixedPrecisionContext:
    """What candidates are made from and judged by.

    Attributes:
        samples: Calibration data.
        config: Where to run.
        quantize: Quantises the model with given options, which leave nothing to choose.
        measure_excess: How many times what is allowed a model's outputs drop, on data that nothing is fitted to.
        deadline: On ``time.monotonic``'s clock; no candidate begins that would not be done by then, going by the first.
    """

    samples: Samples
    config: SessionConfig
    quantize: Callable[[QuantizeOptions], tuple[ir.Model, StepReport]]
    measure_excess: Callable[[ir.Model], float]
    deadline: float | None = None


def choose_mixed_precision(
    model: ir.Model, options: QuantizeOptions, all_int8: tuple[ir.Model, StepReport], context: MixedPrecisionContext
) -> tuple[ir.Model, StepReport, QuantizeOptions]:
    """``all_int8`` if it drops little enough, else the model with the fewest layers in float that does.

    Layers go back in the order of what each costs alone; how many it takes is found by doubling and then by halving the
    gap, every candidate being quantised anew and measured. All layers in float are the float model, which is no candidate:
    when even all but one do not help, ``all_int8`` is kept, and the caller's gate has its say.

    Args:
        model: The float model.
        options: As resolved for ``all_int8``.
        all_int8: The model with every layer in int8 that gains by it, and its report.
        context: What candidates are made from and judged by.
    """
    result, report = all_int8
    initial_float: tuple[str, ...] = report.decision.float_units
    options = replace(options, float_units=initial_float)
    all_int8_excess = context.measure_excess(result)
    if all_int8_excess <= 1:
        return result, report, options
    if context.measure_excess(model) > 1:
        report.warnings.append("the model drops too much before it is quantised: no layer was put back into float")
        return result, report, options
    prepared_model = prepare_model(model_file.load(model))[0]
    if options.activations != "dynamic":
        replace_means_with_pools(prepared_model, TARGETS[options.target])
    layer_order = [name for name in _order_by_noise(prepared_model, options, report, context) if name not in initial_float]
    if len(layer_order) < 2:
        report.warnings.append("the drop is too large, and with its only int8 layer back in float nothing would be int8")
        return result, report, options
    best: tuple[ir.Model, StepReport, QuantizeOptions] | None = None
    outcomes: dict[int, str] = {}
    failed, passed, count = 0, len(layer_order), 1
    in_time = True
    while failed < count < passed:
        if context.deadline is not None and time.monotonic() + report.seconds > context.deadline:
            in_time = False
            break
        candidate_options = replace(
            options, float_units=_list_float_units(prepared_model, options, {*initial_float, *layer_order[:count]})
        )
        candidate, candidate_report = context.quantize(candidate_options)
        if context.measure_excess(candidate) > 1:
            failed, outcomes[count] = count, "too little"
        else:
            best, passed, outcomes[count] = (candidate, candidate_report, candidate_options), count, "enough"
        count = min(2 * count, len(layer_order) - 1) if best is None else (failed + passed) // 2
    if best is None:
        attempted = (
            f"with any of {len(layer_order)} layers" if in_time else f"with {failed} layers, and there was no time for more,"
        )
        report.warnings.append(f"the drop stays too large {attempted} back in float")
        return result, report, options
    _, candidate_report, candidate_options = best
    float_layers = layer_order[:passed]
    reason = (
        f"{len(float_layers)} of {len(layer_order)} layers went back to float: "
        f"int8 in all drops {all_int8_excess:.1f} × what is allowed"
    )
    candidate_report.decision = replace(candidate_report.decision, mixed_reason=reason)
    candidate_report.count("layers back in float", len(float_layers))
    candidate_report.details["mixed"] = {
        "back": float_layers,
        "tried": {str(n): outcome for n, outcome in outcomes.items()},
        "why": reason,
    }
    for name in float_layers:
        candidate_report.skip(name, "it went back to float: --max-drop asks for it")
    return best


def _list_float_units(prepared_model: ir.Model, options: QuantizeOptions, layers: set[str]) -> tuple[str, ...]:
    """``layers``, and what was in int8 for their sake only: an op in front would still round their input."""
    if options.activations == "dynamic":
        return tuple(sorted(layers))
    all_units = find_fusion_groups(prepared_model, TARGETS[options.target], options.exclude)
    remaining_units = [replace(unit, why_float="back in float") if unit.name in layers else unit for unit in all_units]
    return tuple(sorted({*layers, *(find_int8_capable(all_units) - find_int8_capable(remaining_units))}))


def _order_by_noise(
    prepared_model: ir.Model, options: QuantizeOptions, report: StepReport, context: MixedPrecisionContext
) -> Sequence[str]:
    """Layers, the costliest first: by the noise that each adds to its own output when it alone is quantised."""
    if options.activations == "dynamic":
        sqnr_by_layer = {layer.name: layer.sqnr_db for layer in report.decision.layers if layer.sqnr_db is not None}
        return sorted(sqnr_by_layer, key=lambda name: sqnr_by_layer[name])
    noise_by_layer = measure_layer_sensitivity(
        prepared_model, TARGETS[options.target], CalibrationFeeds(context.samples), context.config, options.exclude
    )
    return sorted(noise_by_layer, key=lambda name: -noise_by_layer[name])
