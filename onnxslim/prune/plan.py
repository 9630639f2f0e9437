"""From error curves to what goes: effects on the outputs, savings, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.errors import GateError
from onnxslim.progress import Progress
from onnxslim.prune.blocks import conflicts, repaired
from onnxslim.prune.budget import Budget
from onnxslim.prune.candidates import Candidates, Cut
from onnxslim.prune.effect import Outputs
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.select import Choices, Savings, amounts, choose, interpolate, uniform

#: How often a selection is corrected because savings do not add up (two sides of one weight shrink together).
CORRECTIONS = 12


@dataclass(frozen=True)
class Effects:
    """What candidates do to the model's outputs, each on its own.

    Attributes:
        curves: For each curve, (units gone, effect) at a few levels, in rising order; empty where none was measured.
        blocks: For each block; infinite where it was not measured.
    """

    curves: list[list[tuple[int, float]]]
    blocks: list[float]


def unmeasured(found: Candidates) -> Effects:
    """Nothing is known but the layers' own errors."""
    return Effects([[] for _ in found.curves], [np.inf] * len(found.blocks))


def measure(found: Candidates, outputs: Outputs, progress: Progress) -> Effects:
    """The effect of every candidate; outputs are computed from where a candidate begins to differ."""
    effects = unmeasured(found)
    total = len(found.blocks) + len(found.curves)
    if found.samples is not None:
        for number, block in enumerate(found.blocks):
            without = repaired(found.model, block, found.samples, found.config)
            effects.blocks[number] = outputs.effect(without, 0)
            progress("effects", number + 1, total)
    order = sorted(range(len(found.curves)), key=lambda number: found.curves[number].family.first)
    for done, number in enumerate(order):
        curve = found.curves[number]
        for gone in sorted(curve.weights):
            effects.curves[number].append((gone, outputs.effect(found.taster(number, gone), curve.family.first)))
        progress("effects", len(found.blocks) + done + 1, total)
    return effects


def choices_of(found: Candidates, effects: Effects, savings: Savings, options: PruneOptions) -> list[Choices]:
    """What may be taken from each family and then each block, at what effect and for what saving.

    Where effects were not measured the layers' own errors count, and blocks stay.
    """
    listed = []
    for curve, measured, (gone, saving) in zip(found.curves, effects.curves, savings.curves, strict=True):
        error = np.concatenate([[0.0], curve.error])
        effect = interpolate(curve.error, measured, gone) if measured else error[gone]
        listed.append(Choices(gone, effect, saving))
    for effect_, saved in zip(effects.blocks, savings.blocks, strict=True):
        ways = 2 if np.isfinite(effect_) and saved > 0 and not options.uniform else 1
        listed.append(Choices(np.arange(2)[:ways], np.array([0.0, effect_])[:ways], np.array([0.0, saved])[:ways]))
    return listed


def below(found: Candidates, scored: Mapping[int, np.ndarray], options: PruneOptions) -> Cut:
    """The units that fall below a threshold or within a redundancy.

    A threshold compares a unit's score with the best of its family; under ``obs``, which has no scores, the error of
    removing it (and those before it) with that of removing all.
    """
    gone = []
    for number, curve in enumerate(found.curves):
        stop = len(curve.error)
        if options.redundancy is not None:
            count = int(np.searchsorted(curve.error, options.redundancy, side="right"))
        elif number in scored:
            score = scored[number]
            count = int((score < (options.threshold or 0) * score.max()).sum())
        else:
            count = int((curve.error < (options.threshold or 0) * curve.error[-1]).sum()) if stop else 0
        allowed = amounts(len(curve.family), options.round_to if isinstance(options.round_to, int) else 1)
        gone.append(int(allowed[np.searchsorted(allowed, min(count, stop), side="right") - 1]))
    return found.cut(gone, [])


def meet(found: Candidates, choices: Sequence[Choices], budget: Budget, *, same: bool) -> Cut:
    """What to remove so that the model meets ``budget``, by as little as can be.

    Savings do not add up where two sides of one weight shrink together, so what is asked of the knapsack is corrected
    by what its choice really saves.

    Args:
        found: What may go.
        choices: Of every family, then of every block.
        budget: What may be left.
        same: Take the same share from every family, and no blocks.

    Raises:
        GateError: Not even everything that may go saves enough; says how much does, and what holds the rest.
    """
    start = budget.measure(found.model)
    need = start - budget.allowed
    if need <= 0:
        return found.cut([0] * len(found.curves), [])
    low, high, asked = 0.0, np.inf, need
    best: tuple[float, Cut] | None = None
    for turn in range(CORRECTIONS):
        cut = _pick(found, choices, asked, same)
        got = start - budget.measure(found.without(cut)) if cut is not None else np.inf
        if cut is not None and got >= need and (best is None or got < best[0]):
            best = got, cut
        if need <= got <= budget.tolerance * need:
            break
        if got < need:
            low = asked
        else:
            high = asked
        asked = (low + high) / 2 if np.isfinite(high) else asked + (need - got) * 2**turn
    if best is not None:
        return best[1]
    everything = _cut(found, choices, [len(c.amounts) - 1 for c in choices[: len(found.curves)]])
    most = start - budget.measure(found.without(everything))
    if most >= need:
        return everything
    pins = sorted(found.analysis.pinned, key=lambda pin: -pin.slots)[:3]
    held = "; ".join(f"{pin.slots} channels of {pin.tensor} ({pin.reason})" for pin in pins) or "nothing"
    raise GateError(
        f"asked to remove {need / start:.1%} of the {budget.name}, {most / start:.1%} is the most that can go; "
        f"pinned: {held}",
        hint="ask for less, or lower --round-to and --min-layer-params",
    )


def _pick(found: Candidates, choices: Sequence[Choices], asked: float, same: bool) -> Cut | None:
    picked: list[int] | None
    if same:
        most = sum(float(c.savings[-1]) for c in choices)
        picked = uniform(choices, asked / max(most, 1e-30)) if asked <= most else None
    else:
        offset = len(found.curves)
        clashes = conflicts(found.blocks, [curve.family for curve in found.curves])
        exclusive = [(offset + i, [offset + j for j in blocks] + inner) for i, (blocks, inner) in enumerate(clashes)]
        picked = choose(choices, asked, exclusive)
    return None if picked is None else _cut(found, choices, picked)


def _cut(found: Candidates, choices: Sequence[Choices], picked: Sequence[int]) -> Cut:
    """What the chosen positions mean; blocks without one stay."""
    offset = len(found.curves)
    gone = [int(c.amounts[p]) for c, p in zip(choices[:offset], picked[:offset], strict=True)]
    return found.cut(gone, [i for i, p in enumerate(picked[offset:]) if p])
