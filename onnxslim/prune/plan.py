"""From error curves to what goes: effects on the outputs, savings, and the choice between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.errors import GateError
from onnxslim.progress import Progress
from onnxslim.prune.blocks import conflicts, repaired
from onnxslim.prune.budget import Budget
from onnxslim.prune.candidates import Candidates, Cut
from onnxslim.prune.effect import Outputs
from onnxslim.prune.elsewhere import Spread
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
        forms: For each layer with cheaper forms, that of each; their own error where it was not measured.
    """

    curves: list[list[tuple[int, float]]]
    blocks: list[float]
    forms: list[list[float]]


def unmeasured(found: Candidates) -> Effects:
    """Nothing is known but the layers' own errors."""
    errors = [[option.error for option in one.options] for one in found.factored]
    return Effects([[] for _ in found.curves], [np.inf] * len(found.blocks), errors)


def measure(found: Candidates, outputs: Outputs | Spread, progress: Progress) -> Effects:
    """The effect of every candidate; outputs are computed from where a candidate begins to differ."""
    effects = unmeasured(found)
    without = repaired(found.model, found.blocks, found.samples, found.config) if found.samples is not None else []
    places = [(first, number, "block", 0) for number, (_, first) in enumerate(without)]
    for number, curve in enumerate(found.curves):
        places += [(curve.family.first, number, "curve", gone) for gone in curve.weights]
    for number, one in enumerate(found.factored):
        effects.forms[number] = []
        places += [(one.layer.position, number, "forms", which) for which in range(len(one.options))]
    places.sort()

    def candidates() -> Iterator[tuple[ir.Model, int]]:
        for first, number, kind, which in places:
            if kind == "block":
                yield without[number][0], first
            else:
                yield (found.taster if kind == "curve" else found.formed)(number, which), first

    for done, (place, effect) in enumerate(zip(places, outputs.effects(candidates()), strict=True)):
        _, number, kind, which = place
        if kind == "block":
            effects.blocks[number] = effect
        elif kind == "curve":
            effects.curves[number].append((which, effect))
        else:
            effects.forms[number].append(effect)
        progress("effects", done + 1, len(places))
    return effects


def choices_of(found: Candidates, effects: Effects, savings: Savings, options: PruneOptions) -> list[Choices]:
    """What may be taken from each family, each block and each layer with cheaper forms, at what effect and saving.

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
    for effects_, savings_ in zip(effects.forms, savings.forms, strict=True):
        listed.append(_forms(effects_, savings_))
    return listed


def _forms(effects: list[float], savings: list[float]) -> Choices:
    """Nothing, or one of the forms; one that saves nothing or breaks the model is never worth it."""
    effect = np.array(
        [0.0, *(e if np.isfinite(e) and s > 0 else np.inf for e, s in zip(effects, savings, strict=True))]
    )
    useful = np.isfinite(effect)
    return Choices(np.flatnonzero(useful), effect[useful], np.array([0.0, *savings])[useful])


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
    forms = [0] * len(found.factored)
    if options.redundancy is not None:
        fits = [[i for i, o in enumerate(one.options, 1) if o.error <= options.redundancy] for one in found.factored]
        forms = [ways[-1] if ways else 0 for ways in fits]
    return found.cut(gone, taken=forms)


def meet(found: Candidates, choices: Sequence[Choices], budget: Budget, *, same: bool) -> Cut:
    """What to remove so that the model meets ``budget``, by as little as can be.

    Savings do not add up where two sides of one weight shrink together, so what is asked of the knapsack is corrected
    by what its choice really saves.

    Args:
        found: What may go.
        choices: Of every family, then of every block, then of every layer with cheaper forms.
        budget: What may be left.
        same: Take the same share from every family, and no blocks.

    Raises:
        GateError: Not even everything that may go saves enough; says how much does, and what holds the rest.
    """
    start = budget.measure(found.model)
    need = start - budget.allowed
    if need <= 0:
        return found.cut([0] * len(found.curves))
    low, high, asked = 0.0, np.inf, need
    best: tuple[float, Cut] | None = None
    known: dict[str, float] = {}
    for turn in range(CORRECTIONS):
        cut = _pick(found, choices, asked, same)
        got = np.inf
        if cut is not None:
            # Choices are steps: asking for a little more or less often gives the same one.
            key = repr(cut.choice)
            got = known[key] if key in known else start - budget.measure(found.without(cut))
            known[key] = got
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
    last = [len(c.amounts) - 1 for c in choices]
    start_of, end_of = len(found.curves), len(found.curves) + len(found.blocks)
    last[start_of:end_of] = [0] * len(found.blocks)
    everything = _cut(found, choices, last)
    most = start - budget.measure(found.without(everything))
    if most >= need:
        return everything
    raise GateError(
        f"asked to remove {need / start:.1%} of the {budget.name}, {most / start:.1%} is the most that can go; "
        f"pinned: {_held(found)}",
        hint="ask for less, or lower --round-to and --min-layer-params",
    )


def _held(found: Candidates) -> str:
    """What keeps the rest from going, for a message."""
    pins = sorted(found.analysis.pinned, key=lambda pin: -pin.slots)[:3]
    held = [f"{pin.slots} channels of {pin.tensor} ({pin.reason})" for pin in pins]
    graph = found.model.graph
    open_to_callers = [str(value.name) for value in graph.inputs if value.name in graph.initializers]
    if open_to_callers:
        held.insert(
            0, f"{len(open_to_callers)} weights that are inputs too, for callers to replace ({open_to_callers[0]}, …)"
        )
    return "; ".join(held) or "nothing"


def _pick(found: Candidates, choices: Sequence[Choices], asked: float, same: bool) -> Cut | None:
    picked: list[int] | None
    if same:
        most = sum(float(c.savings[-1]) for c in choices)
        picked = uniform(choices, asked / max(most, 1e-30)) if asked <= most else None
    else:
        offset = len(found.curves)
        behind = offset + len(found.blocks)
        clashes = conflicts(
            found.blocks, [curve.family for curve in found.curves], [one.node for one in found.factored]
        )
        exclusive = [
            (offset + i, [*(offset + j for j in blocks), *inner, *(behind + k for k in layers)])
            for i, (blocks, inner, layers) in enumerate(clashes)
        ]
        picked = choose(choices, asked, exclusive)
    return None if picked is None else _cut(found, choices, picked)


def _cut(found: Candidates, choices: Sequence[Choices], picked: Sequence[int]) -> Cut:
    """What the chosen positions mean; blocks and layers without one stay."""
    offset, behind = len(found.curves), len(found.curves) + len(found.blocks)
    gone = [int(c.amounts[p]) for c, p in zip(choices[:offset], picked[:offset], strict=True)]
    dropped = [i for i, p in enumerate(picked[offset:behind]) if p]
    taken = [int(c.amounts[p]) for c, p in zip(choices[behind:], picked[behind:], strict=False)]
    return found.cut(gone, dropped, taken)
