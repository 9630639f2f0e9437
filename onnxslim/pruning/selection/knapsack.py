"""How much to take from where: a multiple-choice knapsack over error curves. Arrays in, arrays out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

#: At most so many choices of one family reach the solver: finer steps do not change what is chosen.
MAX_CHOICES = 64
#: How near the best a choice must be shown to be, and how long the solver may try to show it; a good one it finds early.
#: No clock decides, so that the same question has the same answer.
MIP_RELATIVE_GAP, MIP_NODE_LIMIT = 1e-3, 500


@dataclass(frozen=True)
class PruningChoices:
    """What may be done with one family (or block).

    Attributes:
        amounts: int64 (c,), how many units go; the first is 0.
        effects: float64 (c,), what that costs at the model's outputs; the first is 0.
        savings: float64 (c,), what it saves, in the budget's currency; the first is 0.
    """

    amounts: np.ndarray
    effects: np.ndarray
    savings: np.ndarray


@dataclass(frozen=True)
class Savings:
    """What candidates save, each on its own.

    Attributes:
        curves: For each family, how many units may go (int64 (c,), from 0) and what that saves (float64 (c,)).
        blocks: For each block.
        factorizations: For each layer, what each of its cheaper forms saves.
    """

    curves: list[tuple[np.ndarray, np.ndarray]]
    blocks: list[float]
    factorizations: list[list[float]] = field(default_factory=list)


def list_amounts(units: int, round_to: int) -> np.ndarray:
    """How many of ``units`` may go so that the rest is a multiple of ``round_to`` and not nothing: int64, from 0.

    A number that is no multiple to begin with may stay as it is.
    """
    remaining = np.arange(units - units % round_to or units, 0, -round_to)
    removable = units - remaining if units >= round_to else np.zeros(1, np.int64)
    removable = np.unique(np.concatenate([[0], removable]))
    if len(removable) > MAX_CHOICES:
        removable = removable[np.unique(np.linspace(0, len(removable) - 1, MAX_CHOICES).round().astype(np.int64))]
    return np.asarray(removable, np.int64)


def solve_knapsack(
    groups: Sequence[PruningChoices], required_saving: float, exclusive: Sequence[tuple[int, Sequence[int]]] = ()
) -> list[int] | None:
    """The choice of each family with the least total effect among those that save at least ``required_saving``.

    Args:
        groups: Their choices.
        required_saving: What must be saved in all.
        exclusive: (a, others): if family ``a`` does not take its first choice, ``others`` must take theirs (a block
            that is dropped has no channels left to prune).

    Returns:
        Which of its choices each family takes, or None when ``required_saving`` cannot be met.
    """
    sizes = [len(group.amounts) for group in groups]
    group_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    total = int(group_starts[-1])
    if not total:
        return [] if required_saving <= 0 else None
    effects = np.concatenate([group.effects for group in groups])
    savings = np.concatenate([group.savings for group in groups])
    effect_scale, saving_scale = max(float(effects.max()), 1e-30), max(float(savings.max()), 1e-30)
    pick_one = sparse.csr_array(
        (np.ones(total), (np.repeat(np.arange(len(groups)), sizes), np.arange(total))), shape=(len(groups), total)
    )
    constraints = [
        LinearConstraint(pick_one, 1, 1),
        LinearConstraint(sparse.csr_array(savings[None] / saving_scale), required_saving / saving_scale, np.inf),
    ]
    for group, others in exclusive:
        for other in others:
            row = np.zeros(total)
            row[group_starts[group] + 1 : group_starts[group + 1]] = 1
            row[group_starts[other] + 1 : group_starts[other + 1]] = 1
            constraints.append(LinearConstraint(sparse.csr_array(row[None]), -np.inf, 1))
    # Something must be paid for every cut, or cuts that look free are made without need.
    objective = effects / effect_scale + 1e-9 * savings / saving_scale
    with _mute_solver():
        result = milp(
            objective,
            constraints=constraints,
            integrality=np.ones(total),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": MIP_RELATIVE_GAP, "node_limit": MIP_NODE_LIMIT},
        )
    if result.x is None:
        return None
    return [int(np.argmax(result.x[a:b])) for a, b in pairwise(group_starts.tolist())]


@contextmanager
def _mute_solver() -> Iterator[None]:
    """The solver (HiGHS) now and then writes a line of its own to standard output, where ``--json`` has to be alone."""
    sys.stdout.flush()
    try:
        saved_stdout = os.dup(1)
    except OSError:  # there is none
        yield
        return
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    try:
        yield
    finally:
        os.dup2(saved_stdout, 1)
        os.close(saved_stdout)


def choose_uniform(groups: Sequence[PruningChoices], share: float) -> list[int]:
    """The choice nearest to ``share`` of the units, the same for all: for comparison."""
    return [int(np.argmin(np.abs(f.amounts - share * f.amounts.max()))) if len(f.amounts) else 0 for f in groups]


def interpolate_effects(error: np.ndarray, measured: Sequence[tuple[int, float]], counts: np.ndarray) -> np.ndarray:
    """Effects between the measured ones, with the layers' error as the abscissa; never falling.

    Args:
        error: float64 (n,), the layers' accumulated error after 1 … n units.
        measured: (units gone, effect at the outputs), in rising order.
        counts: int64 (c,), units gone.

    Returns:
        float64 (c,); infinite beyond the last finite effect, where what goes breaks the model.
    """
    curve = np.concatenate([[0.0], error])
    measured_counts = np.array([0, *(k for k, _ in measured)])
    measured_effects = np.maximum.accumulate(np.array([0.0, *(e for _, e in measured)]))
    # The error itself may stand still (columns that never fire), which np.interp does not take.
    abscissa = curve + np.arange(len(curve)) * max(float(curve[-1]), 1e-30) * 1e-9
    finite = np.isfinite(measured_effects)
    between = np.interp(abscissa[counts], abscissa[measured_counts[finite]], measured_effects[finite])
    return np.where(counts > measured_counts[finite][-1], np.inf if not finite.all() else between, between)
