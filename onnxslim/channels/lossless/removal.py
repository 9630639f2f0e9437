"""Channels that can go without changing a single output: never read, constant, or a multiple of another.

What a consumer makes of a channel that goes is put elsewhere in the consumer: a constant into its bias, a multiple into
the column of the channel that it is a multiple of. Constants cannot go into the bias of a convolution that pads with
zeros, because the border sees fewer of them: there the constant channels are multiples of one another, and one stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.lossless.bias_absorption import BiasAbsorber, ConsumerFacts, find_consumer_facts
from onnxslim.channels.lossless.transfer import infer_facts
from onnxslim.channels.rewriter import delete_units
from onnxslim.core.step_report import Skipped, StepReport
from onnxslim.graph import shapes

#: Removing channels makes more of them dead or constant further up and down; real models need two or three rounds.
MAX_ROUNDS = 16

#: A multiple is only moved to a channel that is not this much smaller, which would amplify rounding.
MAX_AMPLIFICATION = 1e3

NEVER_READ = "channels never read"
ALWAYS_ZERO = "channels always zero"
ALWAYS_CONSTANT = "channels constant"
DUPLICATE = "channels multiples of another"


def remove_lossless(model: ir.Model, limit: Callable[[Analysis, np.ndarray], np.ndarray] | None = None) -> StepReport:
    """Remove what can go exactly, in place; outputs stay equal to float rounding.

    Args:
        model: What to remove it from.
        limit: The units of an analysis and which of them can go, bool (units,) -> those of them that may; by default all.

    Returns:
        Channels counted by why they went, and as skipped, by consumer, constant channels that must stay.
    """
    report = StepReport("lossless")
    with report.timed():
        for _ in range(MAX_ROUNDS):
            plan = _plan_removal(model, limit)
            report.skipped = plan.skipped  # what stays is what the last round says
            if not plan.removed.any():
                break
            for reason, count in sorted(plan.counts.items()):
                report.count(reason, count)
            absorber = BiasAbsorber(model, plan.analysis, plan.removed)
            absorber.absorb(plan.consumer_facts, plan.moves)
            delete_units(model, plan.analysis, plan.removed)
            absorber.add_biases()
    return report


@dataclass
class _RemovalPlan:
    """What goes in one round.

    Attributes:
        analysis: The units of the model as it is.
        consumer_facts: What is known of every consumer's channels.
        removed: bool (units,).
        moves: (reader, slot) -> (slot that takes it over, how many times).
        counts: Why units go -> how many.
        skipped: Consumers with constant channels that stay.
    """

    analysis: Analysis
    consumer_facts: list[ConsumerFacts]
    removed: np.ndarray
    moves: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)


def _plan_removal(model: ir.Model, limit: Callable[[Analysis, np.ndarray], np.ndarray] | None) -> _RemovalPlan:
    scratch = model.clone()
    shapes.infer(scratch)
    analysis = analyze_channels(model)
    plan = _RemovalPlan(
        analysis, find_consumer_facts(scratch, analysis, infer_facts(scratch)), np.zeros(analysis.count, bool)
    )
    locked = np.zeros(analysis.count, bool)
    reasons: dict[int, str] = {}
    for unit in np.flatnonzero(_find_candidates(plan)).tolist():
        reason = None if locked[unit] else _try_remove(unit, plan, locked)
        if reason is not None:
            reasons[unit] = reason
    plan.removed = analysis.spare(plan.removed if limit is None else limit(analysis, plan.removed))
    plan.counts.update(reasons[unit] for unit in np.flatnonzero(plan.removed).tolist())
    for facts in plan.consumer_facts:
        remaining = facts.is_constant & analysis.kept_slots(facts.consumer.labels, plan.removed)
        if remaining.any() and not facts.can_fold:
            explanation = "constant channels stay: its border is padded with zeros, or it has no bias for them"
            plan.skipped.append(Skipped(facts.consumer.name, f"{int(remaining.sum())} {explanation}"))
    return plan


def _find_candidates(plan: _RemovalPlan) -> np.ndarray:
    """Units that no consumer rules out at first sight, bool (units,)."""
    candidates = np.ones(plan.analysis.count, bool)
    for facts in plan.consumer_facts:
        needed = ~facts.idle & ~(facts.is_constant & facts.can_fold)
        if facts.base is not None:
            _, inverse, times = np.unique(facts.base, return_inverse=True, return_counts=True)
            needed &= times[inverse.ravel()] < 2
        blocked = plan.analysis.labels[facts.consumer.labels][needed]
        candidates[blocked[blocked >= 0]] = False
    return candidates


def _try_remove(unit: int, plan: _RemovalPlan, locked: np.ndarray) -> str | None:
    """Let ``unit`` go if every consumer can do without it; returns why it can."""
    numbers, holders, slots = plan.analysis.incidence("consumers")
    start, stop = np.searchsorted(numbers, [unit, unit + 1])
    reasons = {0: NEVER_READ}
    moves: dict[tuple[int, int], tuple[int, float]] = {}
    for number, slot in zip(holders[start:stop].tolist(), slots[start:stop].tolist(), strict=True):
        facts = plan.consumer_facts[number]
        if facts.unread[slot]:
            continue
        if facts.idle[slot]:
            reasons[1] = ALWAYS_ZERO
        elif facts.can_fold and facts.is_constant[slot]:
            reasons[2] = ALWAYS_CONSTANT
        else:
            target = _find_survivor(unit, slot, facts, plan)
            if target is None:
                return None
            moves[number, slot] = target, float(facts.factor[slot] / facts.factor[target])
            reasons[3] = DUPLICATE
    for (number, _), (target, _) in moves.items():
        target_units = plan.analysis.labels[plan.consumer_facts[number].consumer.labels][target]
        locked[target_units[target_units >= 0]] = True
    plan.moves.update(moves)
    plan.removed[unit] = True
    return reasons[max(reasons)]


def _find_survivor(unit: int, slot: int, facts: ConsumerFacts, plan: _RemovalPlan) -> int | None:
    """A slot that stays and of which ``slot`` is a multiple, the largest there is."""
    if facts.base is None:
        return None
    labels = plan.analysis.labels[facts.consumer.labels]
    same = np.flatnonzero(facts.base == facts.base[slot])
    same_units = labels[same]
    stays = ~(np.append(plan.removed, False)[same_units] | (same_units == unit)).any(axis=1)
    same = same[stays]
    if not len(same):
        return None
    target = int(same[np.abs(facts.factor[same]).argmax()])
    return target if abs(facts.factor[slot]) <= MAX_AMPLIFICATION * abs(facts.factor[target]) else None
