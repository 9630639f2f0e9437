"""Placement by measurement: what each unit really takes on this machine, in float and in int8.

Both models are profiled node by node. The runtime renames and fuses nodes as it optimises, but keeps parts of their names,
so the profiled copies are named after their units and each fused node is booked on the unit whose token it carries. The
candidates that follow are then timed whole, in one interleaved run, because node times do not add up to a model's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.model_io import model_file
from onnxslim.quantization.qdq.fusion_groups import FusionGroup
from onnxslim.quantization.qdq.placement import UnitTimes
from onnxslim.runtime.node_profile import NodeTime, measure_node_times
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave

_UNIT_TOKEN = re.compile(r"unit(\d+)\.")
#: Nodes that stand between units; their price is the boundary's, not a unit's.
BOUNDARY_OPS = ("QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput")
#: A candidate must win by this ratio, and in this share of the rounds; otherwise the earlier, simpler one is kept, unless
#: this one's weights take less than that share of the bytes: then it only must not lose.
_MIN_SPEEDUP, _MIN_WIN_SHARE, _MAX_SIZE_RATIO = 1.02, 0.75, 0.95


def measure_unit_times(
    model: ir.Model,
    quantized: ir.Model,
    units: Sequence[FusionGroup],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    modeled_times: UnitTimes,
) -> UnitTimes:
    """The measured nanoseconds of every unit, and what else ``modeled_times`` says brought to their scale.

    The times of a kernel that is several units' are shared among them as the model has it: a SiLU in float is one kernel,
    and its Sigmoid would otherwise seem to cost what the model says on top of it. What was measured is this machine's, while
    a modelled time is a ratio; conversions, which are modelled, are therefore scaled by how fast this machine is.

    Args:
        model: The float model that ``units`` refer to.
        quantized: The same with every able unit in int8; its nodes kept their names.
        units: The units of ``model``.
        feeds: Inputs to run on.
        config: Where to run.
        modeled_times: By what times are shared, and what a conversion costs beside a unit.
    """
    unit_indices = {node.name: index for index, unit in enumerate(units) for node in unit.nodes}
    profiles = [
        _sum_per_unit(measure_node_times(_tag_units(candidate, unit_indices), feeds, config, runs=10), units)
        for candidate in (model, quantized)
    ]
    floats = share_fused_times(units, profiles[0], modeled_times.floats)
    modeled_total = sum(modeled_times.floats.values())
    scale = sum(floats.values()) / modeled_total if modeled_total > 0 else 1.0
    costs = modeled_times.cost_model
    return replace(
        modeled_times,
        floats=floats,
        int8=share_fused_times(units, profiles[1], modeled_times.int8),
        cost_model=replace(
            costs, convert=scale * costs.convert, relayout=scale * costs.relayout,
            node_overhead=scale * costs.node_overhead,
        ),
    )  # fmt: skip


def share_fused_times(
    units: Sequence[FusionGroup], measured: Mapping[str, float], modeled: Mapping[str, float]
) -> dict[str, float]:
    """The nanoseconds of each unit, where a kernel that computes several is booked on the last of them.

    Args:
        units: All units of the model, in order.
        measured: Nanoseconds of those that a profile shows, by name.
        modeled: Of every unit, by which a kernel's time is shared.
    """
    unit_of_node = {node: unit for unit in units for node in unit.nodes}
    booked_on: dict[str, str] = {}
    for unit in reversed(units):
        if unit.name in measured:
            booked_on[unit.name] = unit.name
            continue
        readers = [unit_of_node[use.node] for value in unit.outputs for use in value.uses() if use.node in unit_of_node]
        owners = {booked_on.get(reader.name) for reader in readers}
        if len(owners) == 1 and (owner := owners.pop()) is not None:
            booked_on[unit.name] = owner
    totals: dict[str, float] = {}
    for name, owner in booked_on.items():
        totals[owner] = totals.get(owner, 0.0) + modeled.get(name, 0.0)
    # a unit that no kernel shows costs nothing: a reshape, or what was folded
    times = dict.fromkeys((unit.name for unit in units), 0.0)
    for name, owner in booked_on.items():
        share = modeled.get(name, 0.0) / totals[owner] if totals[owner] > 0 else float(name == owner)
        times[name] = measured[owner] * share
    return times


def pick_fastest(
    candidates: Mapping[str, ir.Model], feeds: Sequence[Mapping[str, np.ndarray]], config: SessionConfig, report: StepReport
) -> tuple[str, dict[str, float]]:
    """The :func:`choose_candidate` of ``candidates``, float first, and the median seconds of each, told to ``report``."""
    sessions = {name: open_timed_session(model, config) for name, model in candidates.items()}
    timing = interleave(sessions, feeds, rounds=30, seconds=0.7)
    sizes = {
        name: sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
        for name, model in candidates.items()
    }
    seconds = {name: timing.median(name) for name in candidates}
    report.details["candidates"] = {name: round(median * 1e3, 4) for name, median in seconds.items()}
    return choose_candidate(timing.rounds, sizes), seconds


def choose_candidate(rounds: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> str:
    """The quickest candidate; on a tie the earliest, or one that is smaller.

    Weights that a benchmark finds in the cache every time, a program that has other things to do reads from memory. The very
    first candidate, float, is never given up for that alone.

    Args:
        rounds: By name the seconds of interleaved rounds, shapes (n,).
        sizes: By name the bytes of the weights.
    """
    first, *others = list(rounds)
    chosen = first
    for name in others:
        ratios = rounds[chosen] / rounds[name]
        is_faster = np.median(ratios) > _MIN_SPEEDUP and np.mean(ratios > 1.0) >= _MIN_WIN_SHARE
        is_lighter_tie = np.median(ratios) > 1 / _MIN_SPEEDUP and sizes[name] < _MAX_SIZE_RATIO * sizes[chosen]
        if is_faster or (is_lighter_tie and chosen != first):
            chosen = name
    return chosen


def _tag_units(model: ir.Model, unit_indices: Mapping[str | None, int]) -> ir.Model:
    """A copy whose nodes and their outputs carry the token of their unit; graph inputs and outputs keep their names."""
    copy = model_file.clone(model)
    for node in copy.graph:
        if node.name not in unit_indices:
            continue
        token = f"unit{unit_indices[node.name]}."
        node.name = token + str(node.name)
        for output in node.outputs:
            if output.name and not output.is_graph_output():
                output.name = token + output.name
    return copy


def _sum_per_unit(times: Mapping[str, NodeTime], units: Sequence[FusionGroup]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for name, time in times.items():
        match = _UNIT_TOKEN.search(name)
        if match is not None and time.op not in BOUNDARY_OPS:
            unit_name = units[int(match[1])].name
            totals[unit_name] = totals.get(unit_name, 0.0) + time.seconds * 1e9
    return totals
