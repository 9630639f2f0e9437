"""From error curves to what goes: effects on the outputs, savings, and the choice between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.channels.rewrite import apply
from onnxslim.channels.units import Analysis
from onnxslim.errors import GateError
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.budget import Budget
from onnxslim.prune.effect import Outputs
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.score import Curve
from onnxslim.prune.select import Choices, amounts, choose, interpolate, uniform

#: How often a selection is corrected because savings do not add up (two sides of one weight shrink together).
CORRECTIONS = 10
#: A selection that saves this much over what was asked is good enough.
TOLERANCE = 1.003


def measure(
    model: ir.Model, analysis: Analysis, curves: Sequence[Curve], outputs: Outputs, progress: Progress
) -> list[list[tuple[int, float]]]:
    """For each curve, (units gone, effect on the model's outputs) at a few levels, every family on its own."""
    found: list[list[tuple[int, float]]] = [[] for _ in curves]
    order = sorted(range(len(curves)), key=lambda number: curves[number].family.first)
    for done, number in enumerate(order):
        curve = curves[number]
        for gone in sorted(curve.weights):
            candidate = without(model, analysis, curve, gone)
            found[number].append((gone, outputs.effect(candidate, curve.family.first)))
        progress("effects", done + 1, len(order))
    return found


def without(model: ir.Model, analysis: Analysis, curve: Curve, gone: int) -> ir.Model:
    """``model`` with the first ``gone`` units of one family removed and the layers that read them repaired."""
    candidate = io.clone(model)
    nodes = list(candidate.graph)
    known = {layer.position: layer for layer in linear.find(candidate.graph)}
    for position, weight in curve.weights.get(gone, {}).items():
        place = analysis.consumers[position].node
        layer = known.get(place)
        if layer is not None and linear.matrix(layer, nodes[place]).shape == weight.shape:
            linear.assign(layer, nodes[place], weight)
    apply(candidate, analysis, curve.family.units[curve.order[:gone]])
    return candidate


def options_of(
    curves: Sequence[Curve],
    effects: Sequence[Sequence[tuple[int, float]]],
    savings: np.ndarray,
    round_to: str | int,
) -> list[Choices]:
    """What may be taken from each family, at what effect and for what saving.

    Args:
        curves: Of every family.
        effects: Measured ones; where there are none the layers' own error counts.
        savings: float64 (units of the analysis,), what each unit saves alone.
        round_to: What kept channels are a multiple of.
    """
    found = []
    for curve, measured in zip(curves, effects, strict=True):
        gone = amounts(len(curve.family), round_to if isinstance(round_to, int) else 1)
        error = np.concatenate([[0.0], curve.error])
        effect = interpolate(curve.error, measured, gone) if measured else error[gone]
        saving = np.concatenate([[0.0], np.cumsum(savings[curve.family.units[curve.order]])])
        found.append(Choices(gone, effect, saving[gone]))
    return found


def mask_of(analysis: Analysis, curves: Sequence[Curve], gone: Sequence[int]) -> np.ndarray:
    """The units that go when the first ``gone`` of each family do, none of which empties an axis: bool (count,)."""
    mask = np.zeros(analysis.count, bool)
    for curve, number in zip(curves, gone, strict=True):
        mask[curve.family.units[curve.order[:number]]] = True
    return analysis.spare(mask)


def below(
    analysis: Analysis, curves: Sequence[Curve], scored: Mapping[int, np.ndarray], options: PruneOptions
) -> np.ndarray:
    """The units that fall below a threshold or within a redundancy: bool (count,).

    A threshold compares a unit's score with the best of its family; under ``obs``, which has no scores, the error of
    removing it (and those before it) with that of removing all.
    """
    gone = []
    for number, curve in enumerate(curves):
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
    return mask_of(analysis, curves, gone)


def meet(
    analysis: Analysis,
    curves: Sequence[Curve],
    choices: Sequence[Choices],
    budget: Budget,
    model: ir.Model,
    *,
    same: bool,
) -> np.ndarray:
    """The units to remove so that ``model`` meets ``budget``, by as little as can be: bool (count,).

    Savings of single units do not add up where two sides of one weight shrink together, so what is asked of the
    knapsack is corrected by what its choice really saves.

    Args:
        analysis: The units.
        curves: Of every family.
        choices: Of every family.
        budget: What may be left.
        model: What ``analysis`` is of.
        same: Take the same share from every family.

    Raises:
        GateError: Not even everything that may go saves enough; says how much does, and what holds the rest.
    """
    start = budget.measure(model)
    need = start - budget.allowed
    if need <= 0:
        return np.zeros(analysis.count, bool)

    def saved(mask: np.ndarray) -> float:
        result = io.clone(model)
        apply(result, analysis, mask)
        return start - budget.measure(result)

    low, high, asked = 0.0, np.inf, need
    best: tuple[float, np.ndarray] | None = None
    for _ in range(CORRECTIONS):
        mask = _pick(analysis, curves, choices, asked, same)
        got = saved(mask) if mask is not None else np.inf
        if mask is not None and got >= need and (best is None or got < best[0]):
            best = got, mask
        if need <= got <= TOLERANCE * need:
            break
        if got < need:
            low = asked
        else:
            high = asked
        asked = (low + high) / 2 if np.isfinite(high) else asked * max(need / max(got, 1e-30), TOLERANCE)
    if best is not None:
        return best[1]
    everything = mask_of(analysis, curves, [int(c.amounts[-1]) for c in choices])
    most = saved(everything)
    if most >= need:
        return everything
    pins = sorted(analysis.pinned, key=lambda pin: -pin.slots)[:3]
    held = "; ".join(f"{pin.slots} channels of {pin.tensor} ({pin.reason})" for pin in pins) or "nothing"
    raise GateError(
        f"asked to remove {need / start:.1%} of the {budget.name}, {most / start:.1%} is the most that can go; "
        f"pinned: {held}",
        hint="ask for less, or lower --round-to and --min-layer-params",
    )


def _pick(
    analysis: Analysis, curves: Sequence[Curve], choices: Sequence[Choices], asked: float, same: bool
) -> np.ndarray | None:
    picked: list[int] | None
    if same:
        most = sum(float(c.savings[-1]) for c in choices)
        picked = uniform(choices, asked / max(most, 1e-30)) if asked <= most else None
    else:
        picked = choose(choices, asked)
    if picked is None:
        return None
    return mask_of(analysis, curves, [int(c.amounts[p]) for c, p in zip(choices, picked, strict=True)])
