"""The best weights for a layer whose inputs have changed: least squares towards what the original layer gave out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import linalg

from onnxslim.prune.correct import corrected
from onnxslim.prune.gram import Moments
from onnxslim.prune.rows import Rows, squares

#: λ over the mean diagonal of the Gram matrix, weakest first; the held-back rows choose.
DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: How often, at most, targets behind a flat part of the activation are moved to where the layer already is, and which
#: share of the error a sweep has to take away to be worth another.
SWEEPS, WORTH = 4, 0.01


@dataclass(frozen=True)
class Fit:
    """Repaired weights and how well they do.

    Attributes:
        weight: float64 (g, m, d + 1), the bias last.
        damping: The λ that was chosen, over the mean diagonal of the Gram matrix; inf when nothing was better.
        error: On the held-back rows, over the variance of their targets.
        before: The same for the weights that came in.
        rescaled: Outputs whose mean, or mean and variance, were brought back to their targets'.
    """

    weight: np.ndarray
    damping: float
    error: float
    before: float
    rescaled: int = 0


def fit(rows: Rows, held: Rows, start: np.ndarray, dampings: tuple[float, ...] = DAMPINGS) -> Fit:
    """W* = (Y Xᵀ + λ W₀) (X Xᵀ + λ I)⁻¹ with a row of ones for the bias, λ chosen where it was not fitted.

    The pull is towards the weights that came in, W₀, not towards zero: a direction that the data say nothing about (a
    channel that never fires, fewer rows than columns) keeps the weight that training gave it. The bias is not damped.

    Where an activation is flat, targets are sets, not points: an output that a Relu would cut anyway may be any
    negative number. The distance to such sets is convex; it falls with every sweep of moving each target to the point
    of its set nearest the output and solving again (after Zhang et al. 2015).

    What comes of it, fitted or not, gets the means and variances of its targets where held-back rows say that this is
    better (:mod:`onnxslim.prune.correct`).

    Args:
        rows: What to fit on.
        held: What chooses λ; without it nothing is fitted.
        start: (g, m, d + 1), the weights that came in, the bias last.
        dampings: Candidates for λ, weakest first.

    Returns:
        The best of the candidates, fitted on all rows, or ``start`` itself if none beats it on the held-back rows.
    """
    if not len(held):
        return Fit(start, float("inf"), 1.0, 1.0)
    fitted, unseen = rows.moments(), held.moments()
    variance = max(unseen.variance(), 1e-300)
    before = held.error(start) / variance
    best, weight = _best(fitted, fitted.yx, start, dampings, partial(held.error, points=True), rows.biased)
    if rows.flat and weight is not None:
        weight = _sweep([rows], Ridge(fitted, dampings[best], rows.biased), weight, start)
        dampings = dampings[max(best - 1, 0) : best + 2]
        cross = weight @ fitted.xx + rows.cross(rows.missing(rows.output(weight)))
        best, weight = _best(fitted, cross, start, dampings, held.error, rows.biased)
    if weight is None or held.error(weight) / variance >= before:
        return match(rows, held, start)
    both = fitted + unseen
    ridge = Ridge(both, dampings[best], rows.biased)
    whole = _sweep([rows, held], ridge, weight, start) if rows.flat else ridge.solve(both.yx, start)
    whole, error, rescaled = corrected([rows, held], held, whole, weight)
    return Fit(whole, dampings[best], error / variance, before, rescaled)


def match(rows: Rows, held: Rows, start: np.ndarray) -> Fit:
    """``start`` with the means and variances of its targets where that is better: what is left for the widest layers."""
    variance = max(held.moments().variance(), 1e-300) if len(held) else 1.0
    before = held.error(start) / variance
    weight, error, rescaled = corrected([rows, held], held, start, start)
    return Fit(weight, float("inf"), error / variance, before, rescaled)


def _best(
    fitted: Moments,
    cross: np.ndarray,
    start: np.ndarray,
    dampings: tuple[float, ...],
    judge: Callable[[np.ndarray], float],
    biased: bool,
) -> tuple[int, np.ndarray | None]:
    """The damping whose solution ``judge`` likes best, and that solution; None when all are singular.

    The error falls and rises again along ``dampings``: from the middle one goes downhill.
    """
    tried: dict[int, tuple[float, np.ndarray | None]] = {}

    def at(number: int) -> float:
        if not 0 <= number < len(dampings):
            return np.inf
        if number not in tried:
            weight = Ridge(fitted, dampings[number], biased).solve(cross, start)
            finite = bool(np.isfinite(weight).all())
            tried[number] = (judge(weight), weight) if finite else (np.inf, None)
        return tried[number][0]

    best = len(dampings) // 2
    while not np.isfinite(at(best)) and best + 1 < len(dampings):
        best += 1  # singular: only more damping helps
    for step in (-1, 1):
        while at(best + step) < at(best):
            best += step
    return best, tried[best][1]


def _sweep(parts: Sequence[Rows], ridge: Ridge, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Move targets to the nearest good values and solve again, as long as that takes a share of the error away."""
    last = np.inf
    for _ in range(SWEEPS):
        missing = [part.missing(part.output(weight)) for part in parts]
        error = sum(map(squares, missing))
        if error > (1 - WORTH) * last:
            break
        last = error
        cross = np.sum([part.cross(gap) for part, gap in zip(parts, missing, strict=True)], axis=0)
        weight = ridge.improve(weight, cross, start)
    return weight


class Ridge:
    """The damped normal equations of some rows, factorised once for any number of targets.

    Args:
        rows: Their moments.
        damping: λ over the mean diagonal of the Gram matrix, for every column but the bias.
        biased: Whether there is a place for a bias; without one, ones explain nothing.
    """

    def __init__(self, rows: Moments, damping: float, biased: bool = True) -> None:
        self._biased = biased
        self._shifted = rows.xx
        if not biased:
            self._shifted[:, -1, :] = self._shifted[:, :, -1] = 0.0
            self._shifted[:, -1, -1] = max(rows.count, 1)
        scale = np.mean(np.einsum("gdd->gd", self._shifted)[:, :-1], axis=1, keepdims=True)
        self._ridge = np.repeat(damping * np.where(scale > 0, scale, 1.0), rows.columns + 1, axis=1)
        self._ridge[:, -1] = 1e-12 * max(rows.count, 1)
        np.einsum("gdd->gd", self._shifted)[:] += self._ridge
        self._factor = None
        if rows.groups == 1:
            try:
                self._factor = linalg.cho_factor(self._shifted[0], lower=True, check_finite=False)
            except linalg.LinAlgError:
                self._shifted[:] = np.nan

    def solve(self, cross: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The weights (g, m, d + 1) for Σ yᵀ [x 1] = ``cross``, pulled towards ``start``; not finite when singular."""
        return self._divide(cross, start)

    def improve(self, weight: np.ndarray, cross: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The same from ``weight``, by what is still missing: Σ rᵀ [x 1] = ``cross``."""
        return np.asarray(weight + self._divide(cross, start - weight))

    def _divide(self, cross: np.ndarray, pull: np.ndarray) -> np.ndarray:
        wanted = cross + pull * self._ridge[:, None, :]
        if not self._biased:
            wanted[..., -1] = 0.0
        wanted = wanted.transpose(0, 2, 1)
        if self._factor is not None:
            return np.asarray(linalg.cho_solve(self._factor, wanted[0], check_finite=False).T[None])
        try:
            return np.asarray(np.linalg.solve(self._shifted, wanted).transpose(0, 2, 1))
        except np.linalg.LinAlgError:
            return np.full(pull.shape, np.nan)
