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
        shifted = _shift_diagonal(gram, damping * scale)
        try:
            lower = linalg.cholesky(shifted, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            damping = max(10 * damping, 1e-12)
            continue
        inverse, _ = linalg.lapack.dpotri(lower, lower=1, overwrite_c=1)
        inverse += np.tril(inverse, -1).T  # above the diagonal nothing was written
        return np.asarray(inverse)


def _shift_diagonal(gram: np.ndarray, amount: float) -> np.ndarray:
    """A copy of the symmetric ``gram`` with ``amount`` on its diagonal, in the order that LAPACK overwrites."""
    shifted = np.array(gram, order="F")
    np.einsum("dd->d", shifted)[:] += amount
    return shifted


def choose_damping(fit: np.ndarray, held_out: np.ndarray, dampings: Sequence[float]) -> float:
    """The λ (over mean diag) under which (H + λI)⁻¹ explains rows that it has not seen.

    Judged as the inverse of a covariance is: by the Gaussian likelihood of the held-back rows, whose negative is
    tr(H_held (H + λI)⁻¹) + log det(H + λI). Too small a λ makes everything look predictable from everything else.

    Args:
        fit: float64 (d, d), the Gram matrix per row of the rows that make the inverse.
        held_out: float64 (d, d), that of rows held back.
        dampings: Candidates, weakest first.
    """
    scale = float(np.mean(np.diag(fit))) or 1.0
    best, lowest = dampings[-1], np.inf
    for damping in dampings:
        try:
            shifted = _shift_diagonal(fit, damping * scale)
            factor = linalg.cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        loss = float(np.trace(linalg.cho_solve(factor, held_out, check_finite=False)))
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
        row_of_column = np.full(self.weight.shape[2], -1)
        row_of_column[self.rows] = np.arange(len(self.rows))
        self._row_of_column = row_of_column

    def costs(self, units: np.ndarray) -> np.ndarray:
        """``scale`` · ½ tr(W_S (H⁻¹_SS)⁻¹ W_Sᵀ) for each of ``units`` alone: float64 (len(units),)."""
        columns = self.columns[units]
        schur = np.linalg.inv(self.inverse[:, self._row_of_column[columns][:, :, None], columns[:, None, :]])
        unit_weights = self.weight[:, :, columns].transpose(0, 2, 1, 3)
        return np.asarray(0.5 * self.scale * np.sum((unit_weights @ schur) * unit_weights, axis=(0, 2, 3)))

    def joint_cost(self, units: np.ndarray) -> float:
        """The cost of deleting all of ``units``."""
        gone = self.columns[units].ravel()
        unit_weights = self.weight[:, :, gone]
        solved = np.linalg.solve(self.inverse[:, self._row_of_column[gone][:, None], gone], unit_weights.transpose(0, 2, 1))
        return float(0.5 * self.scale * np.einsum("gmk,gkm->", unit_weights, solved))

    def delete(self, units: np.ndarray | int) -> None:
        """Delete the columns of ``units``: weights and inverse move to the optimum of what is left."""
        deleted_columns = self.columns[units].ravel()
        inverse_rows = self._row_of_column[deleted_columns]
        correction = np.linalg.solve(self.inverse[:, inverse_rows[:, None], deleted_columns], self.inverse[:, inverse_rows])
        self.weight -= self.weight[:, :, deleted_columns] @ correction
        self.inverse -= self.inverse[:, :, deleted_columns] @ correction
        self.weight[:, :, deleted_columns] = 0.0
        # A one on the diagonal keeps the inverse invertible where nothing is left to invert.
        self.inverse[:, inverse_rows] = 0.0
        self.inverse[:, :, deleted_columns] = 0.0
        self.inverse[:, inverse_rows, deleted_columns] = 1.0


#: A family larger than this goes several units at a time, so that it takes about so many steps to halve.
STEPS_TO_HALVE = 256


def delete_greedily(
    layers: Sequence[Quadratic],
    units: int,
    stop: int,
    *,
    order: Sequence[int] | None = None,
    pauses_at: Sequence[int] = (),
    visit: Callable[[int], None] | None = None,
) -> tuple[list[int], np.ndarray]:
    """Delete units one by one, each time the one that costs least, summed over ``layers``; of many units a few at a time.

    Args:
        layers: Every layer that reads the units; they are changed.
        units: How many units there are.
        stop: How many may be deleted.
        order: Delete in this order instead.
        pauses_at: Numbers of units at which to pause.
        visit: Called with the number of units gone at each pause, while ``layers`` stand as they then are.

    Returns:
        The units in the order they went, and the accumulated cost after each: float64 (stop,).
    """
    remaining = np.arange(units)
    deleted: list[int] = []
    curve: list[float] = []
    total = 0.0
    while len(deleted) < min(stop, units):
        next_pause = min([mark for mark in (*pauses_at, stop, units) if mark > len(deleted)])
        batch_size = min(max(1, len(remaining) // STEPS_TO_HALVE), next_pause - len(deleted))
        candidates = remaining if order is None else np.asarray(order[len(deleted) : len(deleted) + batch_size])
        costs = np.zeros(len(candidates))
        if order is None or batch_size == 1:
            for layer in layers:
                costs += layer.costs(candidates)
        best = np.argsort(costs, kind="stable")[:batch_size] if order is None else np.arange(len(candidates))
        chosen = candidates[best]
        cost = float(costs[best[0]]) if batch_size == 1 else sum(layer.joint_cost(chosen) for layer in layers)
        for layer in layers:
            layer.delete(chosen)
        remaining = np.setdiff1d(remaining, chosen, assume_unique=True)
        deleted += chosen.tolist()
        curve += (total + max(cost, 0.0) * np.arange(1, len(chosen) + 1) / len(chosen)).tolist()
        total = curve[-1]
        if visit is not None and len(deleted) in pauses_at:
            visit(len(deleted))
    return deleted, np.array(curve)
