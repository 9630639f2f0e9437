"""Optimal Brain Surgeon on columns: what deleting inputs of a layer costs once the rest has made up for it.

With H the Gram matrix of a layer's inputs and W its weights, deleting the columns S and moving the others to where the
output changes least costs ½ tr(W_S (H⁻¹_SS)⁻¹ W_Sᵀ), and W ← W - W_S (H⁻¹_SS)⁻¹ H⁻¹_S: is where they move. One inverse
serves all rows of W. After a deletion H⁻¹ ← H⁻¹ - H⁻¹_:S (H⁻¹_SS)⁻¹ H⁻¹_S: is the inverse for what is left.

Hassibi & Stork 1993 (OBS); Frantar & Alistarh 2022 (OBC), in blocks of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg


def damped_inverse(gram: np.ndarray, damping: float) -> np.ndarray:
    """(H + λI)⁻¹ with λ = ``damping`` · mean(diag H): float64 (d, d); a column that never fires (H_ii = 0) is harmless.

    A Gram matrix of too few rows is singular; the damping is raised tenfold until the factorisation succeeds.
    """
    scale = float(np.mean(np.diag(gram))) or 1.0
    while True:
        shifted = gram + damping * scale * np.eye(len(gram))
        try:
            lower = linalg.cholesky(shifted, lower=True, check_finite=False)
        except linalg.LinAlgError:
            damping = max(10 * damping, 1e-12)
            continue
        inverse, _ = linalg.lapack.dpotri(lower, lower=1)
        return np.asarray(np.tril(inverse) + np.tril(inverse, -1).T)


def choose_damping(fit: np.ndarray, held: np.ndarray, dampings: Sequence[float]) -> float:
    """The λ (over mean diag) under which (H + λI)⁻¹ explains rows that it has not seen.

    Judged as the inverse of a covariance is: by the Gaussian likelihood of the held-back rows, whose negative is
    tr(H_held (H + λI)⁻¹) + log det(H + λI). Too small a λ makes everything look predictable from everything else.

    Args:
        fit: float64 (d, d), the Gram matrix per row of the rows that make the inverse.
        held: float64 (d, d), that of rows held back.
        dampings: Candidates, weakest first.
    """
    scale = float(np.mean(np.diag(fit))) or 1.0
    best, lowest = dampings[-1], np.inf
    for damping in dampings:
        try:
            factor = linalg.cho_factor(fit + damping * scale * np.eye(len(fit)), lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        loss = float(np.trace(linalg.cho_solve(factor, held, check_finite=False)))
        loss += 2 * float(np.sum(np.log(np.diag(factor[0]))))
        if loss < lowest:
            best, lowest = damping, loss
    return best


@dataclass
class Quadratic:
    """One layer's output error as a function of its weights, while columns are taken away from it.

    Only the rows of H⁻¹ that some unit may delete are held: a deletion needs no others.

    Attributes:
        weight: float64 (g, m, d), the current weights of each group; deleted columns are zero.
        inverse: float64 (g, a, d), those rows of H⁻¹ over what is left, H damped and per row of data.
        rows: int64 (a,), which rows they are.
        columns: int64 (units, k), the columns each unit owns here, in every group; deleting a unit deletes them all.
        scale: What one unit of this layer's squared error counts for.
    """

    weight: np.ndarray
    inverse: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    scale: float = 1.0

    def __post_init__(self) -> None:
        place = np.full(self.weight.shape[2], -1)
        place[self.rows] = np.arange(len(self.rows))
        self._place = place

    def costs(self, units: np.ndarray) -> np.ndarray:
        """``scale`` · ½ tr(W_S (H⁻¹_SS)⁻¹ W_Sᵀ) for each of ``units`` alone: float64 (len(units),)."""
        columns = self.columns[units]
        middle = np.linalg.inv(self.inverse[:, self._place[columns][:, :, None], columns[:, None, :]])
        own = self.weight[:, :, columns].transpose(0, 2, 1, 3)
        return np.asarray(0.5 * self.scale * np.sum((own @ middle) * own, axis=(0, 2, 3)))

    def joint(self, units: np.ndarray) -> float:
        """The cost of deleting all of ``units``."""
        gone = self.columns[units].ravel()
        own = self.weight[:, :, gone]
        middle = np.linalg.solve(self.inverse[:, self._place[gone][:, None], gone], own.transpose(0, 2, 1))
        return float(0.5 * self.scale * np.einsum("gmk,gkm->", own, middle))

    def delete(self, units: np.ndarray | int) -> None:
        """Delete the columns of ``units``: weights and inverse move to the optimum of what is left."""
        gone = self.columns[units].ravel()
        held = self._place[gone]
        step = np.linalg.solve(self.inverse[:, held[:, None], gone], self.inverse[:, held])
        self.weight -= self.weight[:, :, gone] @ step
        self.inverse -= self.inverse[:, :, gone] @ step
        self.weight[:, :, gone] = 0.0
        # A one on the diagonal keeps the inverse invertible where nothing is left to invert.
        self.inverse[:, held] = 0.0
        self.inverse[:, :, gone] = 0.0
        self.inverse[:, held, gone] = 1.0


#: A family larger than this goes several units at a time, so that it takes about so many steps to halve.
STEPS = 256


def greedy(
    layers: Sequence[Quadratic],
    units: int,
    stop: int,
    *,
    order: Sequence[int] | None = None,
    marks: Sequence[int] = (),
    visit: Callable[[int], None] | None = None,
) -> tuple[list[int], np.ndarray]:
    """Delete units one by one, each time the one that costs least, summed over ``layers``; of many units a few at a time.

    Args:
        layers: Every layer that reads the units; they are changed.
        units: How many units there are.
        stop: How many may be deleted.
        order: Delete in this order instead.
        marks: Numbers of units at which to pause.
        visit: Called with the number of units gone at each pause, while ``layers`` stand as they then are.

    Returns:
        The units in the order they went, and the accumulated cost after each: float64 (stop,).
    """
    left = np.arange(units)
    gone: list[int] = []
    curve: list[float] = []
    total = 0.0
    while len(gone) < min(stop, units):
        pause = min([mark for mark in (*marks, stop, units) if mark > len(gone)])
        many = min(max(1, len(left) // STEPS), pause - len(gone))
        candidates = left if order is None else np.asarray(order[len(gone) : len(gone) + many])
        costs = np.zeros(len(candidates))
        if order is None or many == 1:
            for layer in layers:
                costs += layer.costs(candidates)
        best = np.argsort(costs, kind="stable")[:many] if order is None else np.arange(len(candidates))
        chosen = candidates[best]
        cost = float(costs[best[0]]) if many == 1 else sum(layer.joint(chosen) for layer in layers)
        for layer in layers:
            layer.delete(chosen)
        left = np.setdiff1d(left, chosen, assume_unique=True)
        gone += chosen.tolist()
        curve += (total + max(cost, 0.0) * np.arange(1, len(chosen) + 1) / len(chosen)).tolist()
        total = curve[-1]
        if visit is not None and len(gone) in marks:
            visit(len(gone))
    return gone, np.array(curve)
