"""From error curves to what goes: effects on the outputs, savings, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import NO_TIME_LEFT
from onnxslim.core.errors import GateError, TimeLimitError, UnsupportedError
from onnxslim.pruning.block_dropping import find_conflicts
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.budget import NO_LAYERS_HINT, Budget
from onnxslim.pruning.selection.candidates import Candidates, PruningDecision
from onnxslim.pruning.selection.effects import Effects
from onnxslim.pruning.selection.knapsack import (
    PruningChoices,
    Savings,
    choose_uniform,
    interpolate_effects,
    solve_knapsack,
)
from onnxslim.pruning.selection.pacing import BudgetPace
from onnxslim.pruning.selection.readings import KeptCut, Reading, find_least_cut
from onnxslim.pruning.selection.widths import Widths


def list_choices(candidates: Candidates, effects: Effects, savings: Savings, options: PruneOptions) -> list[PruningChoices]:
    """What may be taken from each family, each block and each layer with cheaper forms, at what effect and saving.

    Where no effects were measured the layers' own errors count, and blocks stay. Where only some were, for want of time, the
    others stay too: an error says nothing beside an effect.
    """
    all_choices = []
    for curve, measured, (amounts_removed, saving) in zip(candidates.curves, effects.curves, savings.curves, strict=True):
        error = np.concatenate([[0.0], curve.error])
        effect = interpolate_effects(curve.error, measured, amounts_removed) if measured else error[amounts_removed]
        if effects.unmeasured and not measured:
            effect = np.where(amounts_removed > 0, np.inf, 0.0)
        bearable = np.isfinite(effect)  # what makes the outputs infinite is never worth it
        all_choices.append(PruningChoices(amounts_removed[bearable], effect[bearable], saving[bearable]))
    for block_effect, block_saving in zip(effects.blocks, savings.blocks, strict=True):
        count = 2 if np.isfinite(block_effect) and block_saving > 0 and not options.uniform else 1
        effect, saving = np.array([0.0, block_effect])[:count], np.array([0.0, block_saving])[:count]
        all_choices.append(PruningChoices(np.arange(count), effect, saving))
    for layer_effects, layer_savings in zip(effects.factorizations, savings.factorizations, strict=True):
        all_choices.append(_factorization_choices(layer_effects, layer_savings))
    return all_choices


def _factorization_choices(effects: list[float], savings: list[float]) -> PruningChoices:
    """Nothing, or one of the forms; one that saves nothing or breaks the model is never worth it."""
    effect = np.array([0.0, *(e if np.isfinite(e) and s > 0 else np.inf for e, s in zip(effects, savings, strict=True))])
    is_useful = np.isfinite(effect)
    return PruningChoices(np.flatnonzero(is_useful), effect[is_useful], np.array([0.0, *savings])[is_useful])


def select_below_threshold(
    candidates: Candidates, criterion_scores: Mapping[int, np.ndarray], widths: Widths, options: PruneOptions
) -> PruningDecision:
    """The units that fall below a threshold or within a redundancy.

    A threshold compares a unit's score with the best of its family; under ``obs``, which has no scores, the error of
    removing it (and those before it) with that of removing all.
    """
    removed_counts = []
    for number, curve in enumerate(candidates.curves):
        stop = len(curve.error)
        if options.redundancy is not None:
            count = int(np.searchsorted(curve.error, options.redundancy, side="right"))
        elif number in criterion_scores:
            score = criterion_scores[number]
            count = int((score < (options.threshold or 0) * score.max()).sum())
        else:
            count = int((curve.error < (options.threshold or 0) * curve.error[-1]).sum()) if stop else 0
        allowed_amounts = widths.amounts[number]
        removed_counts.append(int(allowed_amounts[np.searchsorted(allowed_amounts, min(count, stop), side="right") - 1]))
    factorizations = [0] * len(candidates.factorizable)
    if options.redundancy is not None:
        within_limit = [
            [i for i, option in enumerate(factorizable.options, 1) if option.error <= options.redundancy]
            for factorizable in candidates.factorizable
        ]
        factorizations = [indices[-1] if indices else 0 for indices in within_limit]
    return candidates.make_decision(removed_counts, chosen_factorizations=factorizations)


def meet_budget(
    candidates: Candidates,
    choices: Sequence[PruningChoices],
    budget: Budget,
    *,
    is_uniform: bool,
    pace: BudgetPace | None = None,
) -> KeptCut[PruningDecision]:
    """What to remove so that the model meets ``budget``, by as little as can be.

    Savings do not add up where two sides of one weight shrink together, so what is asked of the knapsack is corrected
    by what its choice really saves.

    Args:
        candidates: What may go.
        choices: Of every family, then of every block, then of every layer with cheaper forms.
        budget: What may be left.
        is_uniform: Take the same share from every family, and no blocks.
        pace: Tells whether there is time to find what meets the budget, and then to come nearer to it.

    Raises:
        TimeLimitError: Nothing was found in time to meet it.
        GateError: Not even everything that may go saves enough; says how much does, and what holds the rest.
    """

    def read(decision: PruningDecision) -> Reading:
        return budget.read(candidates.build_for_measurement(decision))

    def propose(saving: float) -> tuple[str, PruningDecision] | None:
        decision = _choose_candidates(candidates, choices, saving, is_uniform)
        # choices are steps: asking for a little more or less often gives the same one
        return None if decision is None else (repr(decision.recipe_entry), decision)

    pace = pace or BudgetPace(RunContext())
    kept = find_least_cut(
        propose, read, budget.limit,
        whole=candidates.make_decision([0] * len(candidates.curves)),
        tolerance=budget.tolerance,
        fits=lambda is_found: pace.fits(is_found=is_found),
        may_repeat=pace.may_repeat,
    )  # fmt: skip
    if kept is not None:
        return kept
    if pace.is_cut_short:
        text = f"prune: {NO_TIME_LEFT} to find what leaves {budget.limit / budget.total:.1%} of the {budget.name}"
        raise TimeLimitError(text, hint="give a longer --budget")
    full_choice = [len(c.amounts) - 1 for c in choices]
    blocks_start, blocks_end = len(candidates.curves), len(candidates.curves) + len(candidates.blocks)
    full_choice[blocks_start:blocks_end] = [0] * len(candidates.blocks)
    full_decision = _to_decision(candidates, choices, full_choice)
    reading = read(full_decision)
    least = reading.amount
    if least <= budget.limit:
        return KeptCut(full_decision, (least - reading.error, least + reading.error), is_sure=not reading.error)
    if not choices and not candidates.analysis.pinned:
        if (shapeless := _name_shapeless_input(candidates.model)) is not None:
            text = f"which channels go together cannot be told: input {shapeless} has no shape"
            raise UnsupportedError(text, hint="real data (--data) tell its rank; or export the model with the shape")
        raise UnsupportedError("nothing to prune: no layer has channels", hint=NO_LAYERS_HINT)
    share = 1 - least / budget.total
    most = f"{share:.1%} is the most that can go" if share > 0 else "and no cut saves any of it"
    raise GateError(
        f"asked to remove {1 - budget.limit / budget.total:.1%} of the {budget.name}, {most}; "
        f"pinned: {_describe_pins(candidates)}",
        hint="ask for less, or lower --round-to (1: cuts that save no time too) and --min-layer-params",
        prunable_share=share,
    )


def _name_shapeless_input(model: ir.Model) -> str | None:
    return next((str(value.name) for value in model.graph.inputs if value.shape is None), None)


def _describe_pins(candidates: Candidates) -> str:
    """What keeps the rest from going, for a message."""
    pins = sorted(candidates.analysis.pinned, key=lambda pin: -pin.slots)[:3]
    reasons = [f"{pin.slots} channels of {pin.tensor} ({pin.reason})" for pin in pins]
    graph = candidates.model.graph
    overridable_weights = [str(value.name) for value in graph.inputs if value.name in graph.initializers]
    if (count := len(overridable_weights)) > 0:
        first = overridable_weights[0]
        reasons.insert(0, f"{count} weights that are inputs too, for callers to replace ({first}, …)")
    if (shapeless := _name_shapeless_input(candidates.model)) is not None:
        reasons.insert(0, f"what follows from input {shapeless}, which has no shape (--data tell its rank)")
    return "; ".join(reasons) or "nothing"


def _choose_candidates(
    candidates: Candidates, choices: Sequence[PruningChoices], target_saving: float, is_uniform: bool
) -> PruningDecision | None:
    chosen: list[int] | None
    if is_uniform:
        max_saving = sum(float(c.savings[-1]) for c in choices)
        chosen = choose_uniform(choices, target_saving / max(max_saving, 1e-30)) if target_saving <= max_saving else None
    else:
        blocks_start = len(candidates.curves)
        factorizations_start = blocks_start + len(candidates.blocks)
        conflict_lists = find_conflicts(
            candidates.blocks,
            [curve.group for curve in candidates.curves],
            [factorizable.node for factorizable in candidates.factorizable],
        )
        exclusive = [
            (
                blocks_start + i,
                [*(blocks_start + j for j in blocks), *inner_groups, *(factorizations_start + k for k in layers)],
            )
            for i, (blocks, inner_groups, layers) in enumerate(conflict_lists)
        ]
        chosen = solve_knapsack(choices, target_saving, exclusive)
    return None if chosen is None else _to_decision(candidates, choices, chosen)


def _to_decision(candidates: Candidates, choices: Sequence[PruningChoices], chosen: Sequence[int]) -> PruningDecision:
    """The decision that the chosen positions stand for; blocks and layers without one stay."""
    blocks_start, factorizations_start = len(candidates.curves), len(candidates.curves) + len(candidates.blocks)
    removed_counts = [int(c.amounts[p]) for c, p in zip(choices[:blocks_start], chosen[:blocks_start], strict=True)]
    dropped = [i for i, p in enumerate(chosen[blocks_start:factorizations_start]) if p]
    chosen_factorizations = [
        int(c.amounts[p]) for c, p in zip(choices[factorizations_start:], chosen[factorizations_start:], strict=False)
    ]
    return candidates.make_decision(removed_counts, dropped, chosen_factorizations)
