"""The placement that a static quantisation begins with: the fastest, by the target's cost model or by the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.quantization.conformance.placement_costs import get_cost_model
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.options import PLACEMENTS, QuantizeOptions
from onnxslim.quantization.qdq import placement
from onnxslim.quantization.qdq.fusion_groups import QuantizationPlan, make_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq
from onnxslim.quantization.qdq.placement import UnitTimes
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig

#: Int8 that takes so many times as long as float is refused; up to there the clock may be wrong.
MAX_SLOWDOWN = 1.03


@dataclass(frozen=True)
class FastestPlacement:
    """Where to begin.

    Attributes:
        int8: The units in int8.
        times: What each unit takes.
    """

    int8: frozenset[str]
    times: UnitTimes


def choose_fastest(
    model: ir.Model,
    full_plan: QuantizationPlan,
    qparams: QuantizationParams,
    timing_feeds: Sequence[Mapping[str, np.ndarray]],
    options: QuantizeOptions,
    *,
    config: SessionConfig,
    report: StepReport,
    may_be_empty: bool = False,
) -> FastestPlacement:
    """Which units of ``full_plan`` run in int8 where only time counts.

    ``may_be_empty``: something else is in int8 anyway, recurrent layers, so that where all of these are slower none is.

    Raises:
        UnsupportedError: By the clock none is faster than float, and some have to be.
        UsageError: An unknown placement.
    """
    all_units, int8_capable = full_plan.units, full_plan.int8
    target = TARGETS[options.target]
    costs = get_cost_model(target, config, options.placement)
    times = placement.estimate_unit_times(model, all_units, costs, shapes.read_dim_sizes(model, timing_feeds[0]))
    weighted = {unit.name for unit in all_units if unit.has_weights}
    modeled_int8 = placement.place(all_units, times) & int8_capable
    if options.placement == "static":
        if not weighted & modeled_int8:
            report.warnings.append("by the target's cost model int8 gains nothing here; everything that can be is int8")
            return FastestPlacement(int8_capable, times)
        return FastestPlacement(modeled_int8, times)
    if options.placement not in PLACEMENTS:
        raise UsageError(f"--placement {options.placement}: unknown", hint=" or ".join(PLACEMENTS))
    full_int8 = insert_qdq(model, full_plan, qparams)
    times = placement_profiling.measure_unit_times(model, full_int8, all_units, timing_feeds, config, times)
    measured_int8 = placement.place(all_units, times) & int8_capable
    placements = {"everything int8": int8_capable, "static": modeled_int8, "measured": measured_int8}
    # the fewest int8 ops first, since a tie keeps the earlier: an op that gains no time need not lose anything
    sets = {int8: name for name, int8 in placements.items() if int8 & weighted}
    distinct = {name: int8 for int8, name in sorted(sets.items(), key=lambda pair: len(pair[0]))}
    candidates = {
        "float": model,
        **{name: insert_qdq(model, make_plan(all_units, int8), qparams) for name, int8 in distinct.items()},
    }
    best, seconds = placement_profiling.pick_fastest(candidates, timing_feeds, config, report)
    if best == "float":
        best = min(distinct, key=seconds.__getitem__)
        if may_be_empty and seconds[best] > MAX_SLOWDOWN * seconds["float"]:
            return FastestPlacement(frozenset(), times)
        _check_slowdown(seconds["float"], seconds[best], report)
    return FastestPlacement(distinct[best], times)


def check_faster(
    model: ir.Model,
    result: ir.Model,
    timing_feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    why_float: str,
    report: StepReport,
) -> None:
    """Refuse ``result``, in which layers went back to float, where it takes longer than ``model``.

    Args:
        model: The float model.
        result: What was built.
        timing_feeds: Inputs to run on.
        config: Where to run.
        why_float: What took the layers back to float, for the message.
        report: Told of the times.

    Raises:
        UnsupportedError: It does.
    """
    best, seconds = placement_profiling.pick_fastest({"float": model, "int8": result}, timing_feeds, config, report)
    if best == "float":
        _check_slowdown(seconds["float"], seconds["int8"], report, why_float)


def _check_slowdown(float_seconds: float, int8_seconds: float, report: StepReport, why_float: str | None = None) -> None:
    timings = f"float {float_seconds * 1e3:.3g} ms, the best int8 {int8_seconds * 1e3:.3g} ms"
    if int8_seconds <= MAX_SLOWDOWN * float_seconds:
        report.warnings.append(f"no int8 placement was reliably faster than float on this machine: {timings}")
        return
    note, hint = "", "--weights int8 makes the file smaller; --placement static writes int8 all the same"
    if why_float is not None:
        note = f", once {why_float} are in float"
        hint = f"--min-sqnr and --max-drop may accept more; {hint}"
    raise UnsupportedError(f"no int8 placement is faster than float on this machine{note}: {timings}", hint=hint)
