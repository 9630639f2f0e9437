"""Channels that can go without changing a single output: never read, constant, or a multiple of another.

What a consumer makes of a channel that goes is put elsewhere in the consumer: a constant into its bias, a multiple into
the column of the channel that it is a multiple of. Constants cannot go into the bias of a convolution that pads with
zeros, because the border sees fewer of them: there the constant channels are multiples of one another, and one stays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account, Declined
from onnxslim.channels.absorb import Absorber, Reader, readers
from onnxslim.channels.analysis import units
from onnxslim.channels.rewrite import apply
from onnxslim.channels.transfer import learn
from onnxslim.channels.units import Analysis
from onnxslim.graph import shapes

#: Removing channels makes more of them dead or constant further up and down; real models need two or three rounds.
ROUNDS = 16

#: A multiple is only moved to a channel that is not this much smaller, which would amplify rounding.
AMPLIFY = 1e3

NEVER_READ = "channels never read"
ZERO = "channels always zero"
CONSTANT = "channels constant"
DUPLICATE = "channels multiples of another"


def remove_lossless(model: ir.Model) -> Account:
    """Remove what can go exactly, in place; outputs stay equal to float rounding.

    The account counts channels by why they went, and declines, by consumer, constant channels that must stay.
    """
    account = Account("lossless")
    with account.timed():
        for _ in range(ROUNDS):
            plan = _planned(model)
            account.declined = plan.stay  # what stays is what the last round says
            if not plan.removed.any():
                break
            for what, count in sorted(plan.counts.items()):
                account.count(what, count)
            absorber = Absorber(model, plan.analysis, plan.removed)
            absorber.before(plan.readers, plan.moves)
            apply(model, plan.analysis, plan.removed)
            absorber.after()
    return account


@dataclass
class _Plan:
    """What goes in one round.

    Attributes:
        analysis: The units of the model as it is.
        readers: What is known of every consumer's channels.
        removed: bool (units,).
        moves: (reader, slot) -> (slot that takes it over, how many times).
        counts: Why units go -> how many.
        stay: Consumers with constant channels that stay.
    """

    analysis: Analysis
    readers: list[Reader]
    removed: np.ndarray
    moves: dict[tuple[int, int], tuple[int, float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    stay: list[Declined] = field(default_factory=list)


def _planned(model: ir.Model) -> _Plan:
    scratch = model.clone()
    shapes.infer(scratch)
    analysis = units(model)
    plan = _Plan(analysis, readers(scratch, analysis, learn(scratch)), np.zeros(analysis.count, bool))
    locked = np.zeros(analysis.count, bool)
    why: dict[int, str] = {}
    for unit in np.flatnonzero(_possible(plan)).tolist():
        reason = None if locked[unit] else _go(unit, plan, locked)
        if reason is not None:
            why[unit] = reason
    plan.removed = analysis.spare(plan.removed)
    plan.counts.update(why[unit] for unit in np.flatnonzero(plan.removed).tolist())
    for reader in plan.readers:
        left = reader.constant & analysis.keep(reader.consumer.labels, plan.removed)
        if left.any() and not reader.folds:
            why_not = "constant channels stay: its border is padded with zeros, or it has no bias for them"
            plan.stay.append(Declined(reader.consumer.name, f"{int(left.sum())} {why_not}"))
    return plan


def _possible(plan: _Plan) -> np.ndarray:
    """Units that no consumer rules out at first sight, bool (units,)."""
    possible = np.ones(plan.analysis.count, bool)
    for reader in plan.readers:
        needed = ~reader.idle & ~(reader.constant & reader.folds)
        if reader.base is not None:
            _, inverse, times = np.unique(reader.base, return_inverse=True, return_counts=True)
            needed &= times[inverse.ravel()] < 2
        blocked = plan.analysis.labels[reader.consumer.labels][needed]
        possible[blocked[blocked >= 0]] = False
    return possible


def _go(unit: int, plan: _Plan, locked: np.ndarray) -> str | None:
    """Let ``unit`` go if every consumer can do without it; returns why it can."""
    numbers, holders, slots = plan.analysis.incidence("consumers")
    start, stop = np.searchsorted(numbers, [unit, unit + 1])
    reasons = {0: NEVER_READ}
    moves: dict[tuple[int, int], tuple[int, float]] = {}
    for number, slot in zip(holders[start:stop].tolist(), slots[start:stop].tolist(), strict=True):
        reader = plan.readers[number]
        if reader.unread[slot]:
            continue
        if reader.idle[slot]:
            reasons[1] = ZERO
        elif reader.folds and reader.constant[slot]:
            reasons[2] = CONSTANT
        else:
            target = _survivor(unit, slot, reader, plan)
            if target is None:
                return None
            moves[number, slot] = target, float(reader.factor[slot] / reader.factor[target])
            reasons[3] = DUPLICATE
    for (number, _), (target, _) in moves.items():
        held = plan.analysis.labels[plan.readers[number].consumer.labels][target]
        locked[held[held >= 0]] = True
    plan.moves.update(moves)
    plan.removed[unit] = True
    return reasons[max(reasons)]


def _survivor(unit: int, slot: int, reader: Reader, plan: _Plan) -> int | None:
    """A slot that stays and of which ``slot`` is a multiple, the largest there is."""
    if reader.base is None:
        return None
    labels = plan.analysis.labels[reader.consumer.labels]
    same = np.flatnonzero(reader.base == reader.base[slot])
    held = labels[same]
    stays = ~(np.append(plan.removed, False)[held] | (held == unit)).any(axis=1)
    same = same[stays]
    if not len(same):
        return None
    target = int(same[np.abs(reader.factor[same]).argmax()])
    return target if abs(reader.factor[slot]) <= AMPLIFY * abs(reader.factor[target]) else None
