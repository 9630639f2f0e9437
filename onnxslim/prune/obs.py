"""Optimal Brain Surgeon on columns: what deleting inputs of a layer costs once the rest has made up for it.

With H the Gram matrix of a layer's inputs and W its weights, deleting the columns S and moving the others to where the
output changes least costs ½ tr(W_S (H⁻¹_SS)⁻¹ W_Sᵀ), and W ← W - W_S (H⁻¹_SS)⁻¹ H⁻¹_S: is where they move. One inverse
serves all rows of W. After a deletion H⁻¹ ← H⁻¹ - H⁻¹_:S (H⁻¹_SS)⁻¹ H⁻¹_S: is the inverse for what is left.

Hassibi & Stork 1993 (OBS); Frantar & Alistarh 2022 (OBC), in blocks of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg


def damped_inverse(gram: np.ndarray, damping: float) -> np.ndarray:
    """(H + λI)⁻¹ with λ = ``damping`` · mean(diag H), float64 (d, d); a column that never fires (H_ii = 0) is harmless.

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


@dataclass
class Quadratic:
    """One layer's output error as a function of its weights, while columns are taken away from it.

    Attributes:
        weight: float64 (m, d), the current weights; deleted columns are zero.
        inverse: float64 (d, d), the inverse of the damped Gram matrix *per row of data*, over what is left.
        columns: int64 (units, k), the columns each unit owns here; deleting a unit deletes them all.
        scale: What one unit of this layer's squared error counts for.
    """

    weight: np.ndarray
    inverse: np.ndarray
    columns: np.ndarray
    scale: float = 1.0

    def costs(self, units: np.ndarray) -> np.ndarray:
        """``scale`` · ½ tr(W_S (H⁻¹_SS)⁻¹ W_Sᵀ) for each of ``units`` alone: float64 (len(units),)."""
        columns = self.columns[units]
        if not columns.size:
            return np.zeros(len(units))
        middle = np.linalg.inv(self.inverse[columns[:, :, None], columns[:, None, :]])
        own = np.moveaxis(self.weight[:, columns], 0, 1)
        return np.asarray(0.5 * self.scale * np.einsum("umi,uij,umj->u", own, middle, own, optimize=True))

    def delete(self, unit: int) -> None:
        """Delete ``unit``'s columns: weights and inverse move to the optimum of what is left."""
        gone = self.columns[unit]
        if not gone.size:
            return
        step = linalg.solve(self.inverse[np.ix_(gone, gone)], self.inverse[gone], assume_a="pos")
        self.weight -= self.weight[:, gone] @ step
        self.inverse -= self.inverse[:, gone] @ step
        self.weight[:, gone] = 0.0
        # A one on the diagonal keeps the inverse invertible where nothing is left to invert.
        self.inverse[gone] = 0.0
        self.inverse[:, gone] = 0.0
        self.inverse[gone, gone] = 1.0


def greedy(
    layers: Sequence[Quadratic], units: int, stop: int, savings: np.ndarray | None = None
) -> tuple[list[int], np.ndarray]:
    """Delete units one by one, each time the one that costs least over what it saves, summed over ``layers``.

    Args:
        layers: Every layer that reads the units; they are changed.
        units: How many units there are.
        stop: How many may be deleted.
        savings: float64 (units,), what each unit saves; equal when None.

    Returns:
        The units in the order they went, and the accumulated cost after each: float64 (stop,).
    """
    left = np.arange(units)
    order: list[int] = []
    curve: list[float] = []
    total = 0.0
    for _ in range(min(stop, units)):
        costs = np.zeros(len(left))
        for layer in layers:
            costs += layer.costs(left)
        best = int(np.argmin(costs if savings is None else costs / np.maximum(savings[left], 1e-12)))
        total += max(float(costs[best]), 0.0)
        unit = int(left[best])
        for layer in layers:
            layer.delete(unit)
        left = np.delete(left, best)
        order.append(unit)
        curve.append(total)
    return order, np.array(curve)
