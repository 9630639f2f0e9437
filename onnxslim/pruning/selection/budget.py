"""Budgets: what is counted, how much of it has to go, and how much a removal really saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import NO_TIME_LEFT
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.knapsack import Savings
from onnxslim.pruning.selection.latency import CHANNEL_MULTIPLE, LatencyMeter
from onnxslim.pruning.selection.readings import KeptCut, Reading, T
from onnxslim.pruning.selection.widths import Widths

#: A share of a model's time is counted in time from so many seconds on: the runtime's profile has whole microseconds, and a
#: call takes some by itself.
MIN_SECONDS_ASKED = 10e-6
#: What is left is known to within so much of the whole, or it is said that it is not.
MAX_SHARE_SPREAD = 0.1

NO_LAYERS_HINT = "channels are what convolutions and linear layers have; trees and tables have none"


@dataclass(frozen=True)
class Budget:
    """How much of something a model may have.

    Attributes:
        name: What is counted, for messages.
        total: How much the model has that shares are of.
        limit: How much the model may have when it is done.
        read: A model -> how much it has, read once; where a clock reads, the next reading is another.
        savings: What each candidate saves, at the widths that it may have.
        tolerance: A selection that saves this many times what was asked is good enough; measurements are no better.
    """

    name: str
    total: float
    limit: float
    read: Callable[[ir.Model], Reading]
    savings: Callable[[Candidates, Widths], Savings]
    tolerance: float = 1.003

    def describe_doubt(self, kept: KeptCut[T], *, out_of_time: bool = False) -> str | None:
        """What to warn of, else None: a clock has read what ``kept`` leaves too differently, or time was up
        (``out_of_time``) before that was known or what went beyond the budget was spared.
        """
        low, high = (max(bound / self.total, 0.0) for bound in kept.bounds)  # an interval of noise reaches below nothing
        asked = self.limit / self.total
        is_known = kept.is_sure and high - low <= MAX_SHARE_SPREAD
        goes_too_far = out_of_time and 1 - (low + high) / 2 > self.tolerance * (1 - asked)
        if is_known and not goes_too_far:
            return None
        shares = f"{low:.1%}" if low == high else f"{low:.1%} to {high:.1%}"
        left = f"{shares} of the {self.name} is left"
        if goes_too_far or not kept.is_sure:
            left += f", where {asked:.1%} was asked for"
        if out_of_time:
            return f"{NO_TIME_LEFT} to find what meets the budget more closely: {left}; give a longer --budget"
        return f"this machine was noisy while it was timed: {left}; prune again when nothing else runs"


def settle_counting(model: ir.Model, context: RunContext, options: PruneOptions) -> tuple[PruneOptions, str | None]:
    """``options`` with what a share that is given without a name counts, and what to say of it, or None.

    It is of the time where there are samples to time ``model`` on, else of the parameters. Of a model that is too small, the
    clock can tell neither what a share of its time is nor which widths save any: its parameters count, and channels go in
    blocks where nothing else was asked for.

    Args:
        model: What is pruned.
        context: What is timed, and how.
        options: Of the step; nothing is timed where they leave nothing open.
    """
    if options.remove is None or options.of is not None or options.cuts is not None:
        return options, None
    if context.samples is None:
        return replace(options, of="params"), "no data to time the model on: --remove is a share of its parameters"
    seconds = LatencyMeter(model, context.samples, context.config).original_seconds
    if options.remove * seconds >= MIN_SECONDS_ASKED:
        return replace(options, of="latency"), None
    round_to = CHANNEL_MULTIPLE if options.round_to == "auto" else options.round_to
    text = (
        f"the clock cannot tell {100 * options.remove:.3g} % of the {1e6 * seconds:.0f} µs that the model takes: "
        "--remove is a share of its parameters (--of latency: of the time all the same)"
    )
    return replace(options, of="params", round_to=round_to), text


def make_budget(whole: ir.Model, context: RunContext, options: PruneOptions, round_share: float = 1.0) -> Budget | None:
    """The budget that ``options`` give, or None where they name a threshold or a redundancy instead.

    Args:
        whole: The model that shares are of, and whose bytes have to become fewer.
        context: What is run where time is measured, and how.
        options: Of the step.
        round_share: In (0, 1]: which share of the way to the budget this round goes.

    Raises:
        UsageError: A size that the model already has; latency without data to measure on.
        UnsupportedError: There is nothing of what is counted.
    """
    if options.max_size is not None:
        size = model_file.count_bytes(whole)
        if size <= options.max_size:
            raise UsageError(f"--max-size {options.max_size}: the model already has {size} bytes")
        limit = size - round_share * (size - options.max_size)
        # a parameter takes four bytes; what names and nodes take besides is left to the corrections
        return Budget("bytes", size, limit, _count_bytes, partial(_sum_savings, "params", 4.0))
    if options.remove is None:
        return None
    if options.of == "latency":
        if context.samples is None:
            raise UsageError("--of latency measures and needs data", hint="give --data")
        meter = LatencyMeter(whole, context.samples, context.config)
        seconds = meter.original_seconds
        limit = seconds * (1 - round_share * options.remove)
        return Budget("latency", seconds, limit, meter.read, _get_seconds, 1.03)
    of = options.of or "params"
    total = _count(of, whole).amount
    if not total and of == "macs" and (unknown := compute_cost(whole).unknown):
        text = f"the MACs of {unknown[0]} cannot be counted: the sizes of what it reads are not known"
        raise UnsupportedError(text, hint="--of params, or export the model with the shapes of its inputs")
    if not total:
        raise UnsupportedError(f"nothing to prune: the model has no {of}", hint=NO_LAYERS_HINT)
    limit = total * (1 - round_share * options.remove)
    return Budget(of, total, limit, partial(_count, of), partial(_sum_savings, of, 1.0))


def _count_bytes(model: ir.Model) -> Reading:
    return Reading(float(model_file.count_bytes(model)))


def _count(of: str, model: ir.Model) -> Reading:
    """The ``params`` or ``macs`` of ``model``."""
    return Reading(float(getattr(compute_cost(model), of)))


def _get_seconds(candidates: Candidates, widths: Widths) -> Savings:
    """Savings in time, as they were measured."""
    assert widths.seconds is not None, "a budget of time is never without samples"
    return widths.seconds


def _sum_savings(of: str, scale: float, candidates: Candidates, widths: Widths) -> Savings:
    """Savings that simply add up: ``scale`` times the ``params`` or ``macs`` of each unit, block and cheaper form."""
    unit_savings = scale * getattr(candidates.analysis, of)
    curves = []
    for curve, removable in zip(candidates.curves, widths.amounts, strict=True):
        cumulative_savings = np.concatenate(
            [[0.0], np.cumsum(unit_savings[curve.group.units[curve.order]], dtype=np.float64)]
        )
        curves.append((removable, cumulative_savings[removable]))
    blocks = [float(scale * getattr(block, of)) for block in candidates.blocks]
    factorizations = [[float(scale * getattr(o, of)) for o in layer.options] for layer in candidates.factorizable]
    return Savings(curves, blocks, factorizations)
