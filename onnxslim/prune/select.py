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
CHOICES = 64
#: How near the best a choice must be shown to be, and how long the solver may try to show it; a good one it finds early.
#: No clock decides, so that the same question has the same answer.
GAP, NODES = 1e-3, 500


@dataclass(frozen=True)
class Choices:
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
        forms: For each layer, what each of its cheaper forms saves.
    """

    curves: list[tuple[np.ndarray, np.ndarray]]
    blocks: list[float]
    forms: list[list[float]] = field(default_factory=list)


def amounts(units: int, round_to: int) -> np.ndarray:
    """How many of ``units`` may go so that the rest is a multiple of ``round_to`` and not nothing: int64, from 0.

    A number that is no multiple to begin with may stay as it is.
    """
    kept = np.arange(units - units % round_to or units, 0, -round_to)
    gone = units - kept if units >= round_to else np.zeros(1, np.int64)
    gone = np.unique(np.concatenate([[0], gone]))
    if len(gone) > CHOICES:
        gone = gone[np.unique(np.linspace(0, len(gone) - 1, CHOICES).round().astype(np.int64))]
    return np.asarray(gone, np.int64)


def choose(
    families: Sequence[Choices], need: float, exclusive: Sequence[tuple[int, Sequence[int]]] = ()
) -> list[int] | None:
    """The choice of each family with the least total effect among those that save at least ``need``.

    Args:
        families: Their choices.
        need: What must be saved in all.
        exclusive: (a, others): if family ``a`` does not take its first choice, ``others`` must take theirs (a block
            that is dropped has no channels left to prune).

    Returns:
        Which of its choices each family takes, or None when ``need`` cannot be met.
    """
    sizes = [len(family.amounts) for family in families]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    total = int(starts[-1])
    if not total:
        return [] if need <= 0 else None
    effects = np.concatenate([family.effects for family in families])
    savings = np.concatenate([family.savings for family in families])
    scale, worth = max(float(effects.max()), 1e-30), max(float(savings.max()), 1e-30)
    one = sparse.csr_array(
        (np.ones(total), (np.repeat(np.arange(len(families)), sizes), np.arange(total))), shape=(len(families), total)
    )
    constraints = [
        LinearConstraint(one, 1, 1),
        LinearConstraint(sparse.csr_array(savings[None] / worth), need / worth, np.inf),
    ]
    for family, others in exclusive:
        for other in others:
            row = np.zeros(total)
            row[starts[family] + 1 : starts[family + 1]] = 1
            row[starts[other] + 1 : starts[other + 1]] = 1
            constraints.append(LinearConstraint(sparse.csr_array(row[None]), -np.inf, 1))
    # Something must be paid for every cut, or cuts that look free are made without need.
    objective = effects / scale + 1e-9 * savings / worth
    with _mute():
        result = milp(
            objective,
            constraints=constraints,
            integrality=np.ones(total),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": GAP, "node_limit": NODES},
        )
    if result.x is None:
        return None
    return [int(np.argmax(result.x[a:b])) for a, b in pairwise(starts.tolist())]


@contextmanager
def _mute() -> Iterator[None]:
    """The solver (HiGHS) now and then writes a line of its own to standard output, where ``--json`` has to be alone."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def uniform(families: Sequence[Choices], share: float) -> list[int]:
    """The choice nearest to ``share`` of the units, the same for all: for comparison."""
    return [int(np.argmin(np.abs(f.amounts - share * f.amounts.max()))) if len(f.amounts) else 0 for f in families]


def interpolate(error: np.ndarray, measured: Sequence[tuple[int, float]], at: np.ndarray) -> np.ndarray:
    """Effects between the measured ones, with the layers' error as the abscissa; never falling.

    Args:
        error: float64 (n,), the layers' accumulated error after 1 … n units.
        measured: (units gone, effect at the outputs), in rising order.
        at: int64 (c,), units gone.

    Returns:
        float64 (c,).
    """
    curve = np.concatenate([[0.0], error])
    gone = np.array([0, *(k for k, _ in measured)])
    effect = np.maximum.accumulate(np.array([0.0, *(e for _, e in measured)]))
    # The error itself may stand still (columns that never fire), which np.interp does not take.
    abscissa = curve + np.arange(len(curve)) * max(float(curve[-1]), 1e-30) * 1e-9
    return np.asarray(np.interp(abscissa[at], abscissa[gone], effect))
