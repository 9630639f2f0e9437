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

from onnxslim import io
from onnxslim.quantize.placement import Times
from onnxslim.quantize.plan import Unit
from onnxslim.runtime.profile import NodeTime, node_times
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.timing import interleave

_TOKEN = re.compile(r"unit(\d+)\.")
#: Nodes that stand between units; their price is the boundary's, not a unit's.
_BETWEEN = ("QuantizeLinear", "DequantizeLinear", "Transpose", "ReorderInput", "ReorderOutput")
#: A candidate must win by this ratio, and in this share of the rounds; otherwise the earlier, simpler one is kept, unless
#: this one's weights take less than that share of the bytes: then it only must not lose.
_MARGIN, _WINS, _LIGHTER = 1.02, 0.75, 0.95


def unit_times(
    model: ir.Model,
    quantised: ir.Model,
    units: Sequence[Unit],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    static: Times,
) -> Times:
    """``static`` with the measured nanoseconds of every unit that both profiles show.

    Args:
        model: The float model that ``units`` refer to.
        quantised: The same with every able unit in int8; its nodes kept their names.
        units: The units of ``model``.
        feeds: Inputs to run on.
        config: Where to run.
        static: What to keep for units that the runtime fused out of sight.
    """
    names = {node.name: index for index, unit in enumerate(units) for node in unit.nodes}
    floats = _per_unit(node_times(_tokens(model, names), feeds, config, runs=10), units)
    int8 = _per_unit(node_times(_tokens(quantised, names), feeds, config, runs=10), units)
    both = floats.keys() & int8.keys()
    return replace(
        static,
        floats={**static.floats, **{name: floats[name] for name in sorted(both)}},
        int8={**static.int8, **{name: int8[name] for name in sorted(both)}},
    )


def fastest(
    candidates: Mapping[str, ir.Model], feeds: Sequence[Mapping[str, np.ndarray]], config: SessionConfig
) -> tuple[str, dict[str, float]]:
    """The :func:`best` of ``candidates``, float first, and the median seconds of each."""
    sessions = {name: Session(model, config) for name, model in candidates.items()}
    timing = interleave(sessions, feeds, rounds=30, seconds=0.7)
    sizes = {name: _weight_bytes(model) for name, model in candidates.items()}
    return best(timing.rounds, sizes), {name: timing.median(name) for name in candidates}


def best(rounds: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> str:
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
        wins = np.median(ratios) > _MARGIN and np.mean(ratios > 1.0) >= _WINS
        ties = np.median(ratios) > 1 / _MARGIN and sizes[name] < _LIGHTER * sizes[chosen]
        if wins or (ties and chosen != first):
            chosen = name
    return chosen


def _weight_bytes(model: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def _tokens(model: ir.Model, names: Mapping[str | None, int]) -> ir.Model:
    """A copy whose nodes and their outputs carry the token of their unit; graph inputs and outputs keep their names."""
    copy = io.clone(model)
    for node in copy.graph:
        if node.name not in names:
            continue
        token = f"unit{names[node.name]}."
        node.name = token + str(node.name)
        for output in node.outputs:
            if output.name and not output.is_graph_output():
                output.name = token + output.name
    return copy


def _per_unit(times: Mapping[str, NodeTime], units: Sequence[Unit]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, time in times.items():
        match = _TOKEN.search(name)
        if match is not None and time.op not in _BETWEEN:
            unit = units[int(match[1])].name
            found[unit] = found.get(unit, 0.0) + time.seconds * 1e9
    return found
