"""The best weights for a layer whose inputs have changed: least squares towards what the original layer gave out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from onnxslim.prune.gram import CHUNK, Moments, with_ones

#: λ over the mean diagonal of the Gram matrix, weakest first; the held-back rows choose.
DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: How often targets behind a flat part of the activation are moved to where the layer already is.
SWEEPS = 4


@dataclass(frozen=True)
class Rows:
    """A layer's inputs and targets, row by row.

    Attributes:
        x: (g, n, d), what the layer reads.
        y: (g, n, m), what it should give out.
        low: (g, n, m) or a number: outputs at or below this are all alike to what follows (a Relu's 0); -inf for none.
        high: The same from above (a Clip's upper bound); inf for none.
        biased: Whether there is a place for a bias.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | float = -np.inf
    high: np.ndarray | float = np.inf
    biased: bool = True

    @property
    def flat(self) -> bool:
        """Whether anything is alike."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    def moments(self) -> Moments:
        """The moments of these rows."""
        sums = Moments(self.x.shape[0], self.x.shape[2], self.y.shape[2])
        sums.add(self.x, self.y)
        if not self.biased:
            # The column of ones must not explain anything.
            sums.xx[:, -1, :] = sums.xx[:, :, -1] = sums.yx[:, :, -1] = 0.0
            sums.xx[:, -1, -1] = sums.count
        return sums

    def cross(self, targets: np.ndarray) -> np.ndarray:
        """Σ yᵀ [x 1] for other ``targets`` (g, n, m): float64 (g, m, d + 1)."""
        total = np.zeros((self.x.shape[0], self.y.shape[2], self.x.shape[2] + 1))
        for start in range(0, self.x.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            total += targets[:, part].astype(np.float64).transpose(0, 2, 1) @ with_ones(self.x[:, part])
        if not self.biased:
            total[:, :, -1] = 0.0
        return total

    def output(self, weight: np.ndarray) -> np.ndarray:
        """W [x 1] for ``weight`` (g, m, d + 1): (g, n, m)."""
        return np.asarray(self.x @ weight[:, :, :-1].transpose(0, 2, 1).astype(self.x.dtype) + weight[:, None, :, -1])

    def nearest(self, output: np.ndarray) -> np.ndarray:
        """For each ``output`` (g, n, m) the nearest value that is as good as its target."""
        below, above = self.y <= self.low, self.y >= self.high
        return np.where(below, np.minimum(output, self.low), np.where(above, np.maximum(output, self.high), self.y))

    def error(self, weight: np.ndarray) -> float:
        """Σ (distance to the nearest good value)²."""
        output = self.output(weight)
        return float(np.sum(np.square(output - self.nearest(output), dtype=np.float64)))


@dataclass(frozen=True)
class Fit:
    """Repaired weights and how well they do.

    Attributes:
        weight: float64 (g, m, d + 1), the bias last.
        damping: The λ that was chosen, over the mean diagonal of the Gram matrix; inf when nothing was better.
        error: On the held-back rows, over the variance of their targets.
        before: The same for the weights that came in.
    """

    weight: np.ndarray
    damping: float
    error: float
    before: float


def fit(rows: Rows, held: Rows, start: np.ndarray, dampings: tuple[float, ...] = DAMPINGS) -> Fit:
    """W* = (Y Xᵀ + λ W₀) (X Xᵀ + λ I)⁻¹ with a row of ones for the bias, λ chosen where it was not fitted.

    The pull is towards the weights that came in, W₀, not towards zero: a direction that the data say nothing about (a
    channel that never fires, fewer rows than columns) keeps the weight that training gave it. The bias is not damped.

    Where an activation is flat, targets are sets, not points: an output that a Relu would cut anyway may be any
    negative number. The distance to such sets is convex; it falls with every sweep of moving each target to the point
    of its set nearest the output and solving again (after Zhang et al. 2015).

    Args:
        rows: What to fit on.
        held: What chooses λ; without it nothing is fitted.
        start: (g, m, d + 1), the weights that came in, the bias last.
        dampings: Candidates for λ, weakest first.

    Returns:
        The best of the candidates, fitted on all rows, or ``start`` itself if none beats it on the held-back rows.
    """
    if not held.x.shape[1]:
        return Fit(start, float("inf"), 1.0, 1.0)
    fitted, unseen = rows.moments(), held.moments()
    variance = max(unseen.variance(), 1e-300)
    before = held.error(start) / variance
    best, weight = _best(fitted, fitted.yx, start, dampings, replace(held, low=-np.inf, high=np.inf))
    if rows.flat and weight is not None:
        weight = _sweep([rows], Ridge(fitted, dampings[best]), weight, start)
        near = dampings[max(best - 1, 0) : best + 2]
        dampings, cross = near, rows.cross(rows.nearest(rows.output(weight)))
        best, weight = _best(fitted, cross, start, dampings, held)
    error = held.error(weight) / variance if weight is not None else np.inf
    if weight is None or error >= before:
        return Fit(start, float("inf"), before, before)
    both = fitted + unseen
    ridge = Ridge(both, dampings[best])
    weight = _sweep([rows, held], ridge, weight, start) if rows.flat else ridge.solve(both.yx, start)
    return Fit(weight, dampings[best], error, before)


def _best(
    fitted: Moments, cross: np.ndarray, start: np.ndarray, dampings: tuple[float, ...], judge: Rows
) -> tuple[int, np.ndarray | None]:
    """The damping whose solution ``judge`` likes best, and that solution; None when all are singular.

    The error falls and rises again along ``dampings``: from the middle one goes downhill.
    """
    tried: dict[int, tuple[float, np.ndarray | None]] = {}

    def at(number: int) -> float:
        if not 0 <= number < len(dampings):
            return np.inf
        if number not in tried:
            weight = Ridge(fitted, dampings[number]).solve(cross, start)
            finite = bool(np.isfinite(weight).all())
            tried[number] = (judge.error(weight), weight) if finite else (np.inf, None)
        return tried[number][0]

    best = len(dampings) // 2
    while not np.isfinite(at(best)) and best + 1 < len(dampings):
        best += 1  # singular: only more damping helps
    for step in (-1, 1):
        while at(best + step) < at(best):
            best += step
    return best, tried[best][1]


def _sweep(parts: list[Rows], ridge: Ridge, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Move targets to the nearest good values and solve again, a few times."""
    for _ in range(SWEEPS):
        weight = ridge.solve(np.sum([p.cross(p.nearest(p.output(weight))) for p in parts], axis=0), start)
    return weight


class Ridge:
    """The damped normal equations of some rows, factorised once for any number of targets.

    Args:
        rows: Their moments.
        damping: λ over the mean diagonal of the Gram matrix, for every column but the bias.
    """

    def __init__(self, rows: Moments, damping: float) -> None:
        scale = np.mean(np.einsum("gdd->gd", rows.xx)[:, :-1], axis=1, keepdims=True)
        self._ridge = np.repeat(damping * np.where(scale > 0, scale, 1.0), rows.columns + 1, axis=1)
        self._ridge[:, -1] = 1e-12 * max(rows.count, 1)
        self._shifted = rows.xx.copy()
        np.einsum("gdd->gd", self._shifted)[:] += self._ridge
        self._factor = None
        if rows.groups == 1:
            try:
                self._factor = linalg.cho_factor(self._shifted[0], lower=True, check_finite=False)
            except linalg.LinAlgError:
                self._shifted[:] = np.nan

    def solve(self, cross: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The weights (g, m, d + 1) for Σ yᵀ [x 1] = ``cross``, pulled towards ``start``; not finite when singular."""
        wanted = (cross + start * self._ridge[:, None, :]).transpose(0, 2, 1)
        if self._factor is not None:
            return np.asarray(linalg.cho_solve(self._factor, wanted[0], check_finite=False).T[None])
        try:
            return np.asarray(np.linalg.solve(self._shifted, wanted).transpose(0, 2, 1))
        except np.linalg.LinAlgError:
            return np.full(start.shape, np.nan)
