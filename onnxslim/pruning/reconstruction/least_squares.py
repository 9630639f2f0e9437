"""The best weights for a layer whose inputs have changed: least squares towards what the original layer gave out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import linalg

from onnxslim.pruning.reconstruction.moment_matching import correct_moments
from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.pruning.statistics.second_moments import SecondMoments

#: Candidates for λ, over the mean diagonal of the Gram matrix, weakest first; the held-back rows choose.
RIDGE_DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: How often, at most, targets behind a flat part of the activation are moved to where the layer already is, and which
#: share of the error a sweep has to take away to be worth another.
MAX_SWEEPS, MIN_SWEEP_GAIN = 4, 0.01


@dataclass(frozen=True)
class LayerFit:
    """Repaired weights and how well they do.

    Attributes:
        weight: float64 (g, m, d + 1), the bias last.
        damping: The λ that was chosen, over the mean diagonal of the Gram matrix; inf when nothing was better.
        error: On the held-back rows, over the variance of their targets.
        error_before: The same for the weights that came in.
        rescaled: Outputs whose mean, or mean and variance, were brought back to their targets'.
    """

    weight: np.ndarray
    damping: float
    error: float
    error_before: float
    rescaled: int = 0


def fit_layer(
    rows: RegressionRows, held_out: RegressionRows, initial_weight: np.ndarray, dampings: tuple[float, ...] = RIDGE_DAMPINGS
) -> LayerFit:
    """W* = (Y Xᵀ + λ W₀) (X Xᵀ + λ I)⁻¹ with a row of ones for the bias, λ chosen where it was not fitted.

    The pull is towards the weights that came in, W₀, not towards zero: a direction that the data say nothing about (a
    channel that never fires, fewer rows than columns) keeps the weight that training gave it. The bias is not damped.

    Where an activation is flat, targets are sets, not points: an output that a Relu would cut anyway may be any
    negative number. The distance to such sets is convex; it falls with every sweep of moving each target to the point
    of its set nearest the output and solving again (after Zhang et al. 2015).

    What comes of it, fitted or not, gets the means and variances of its targets where held-back rows say that this is
    better (:mod:`onnxslim.pruning.reconstruction.moment_matching`).

    Args:
        rows: What to fit on.
        held_out: What chooses λ; without it nothing is fitted.
        initial_weight: (g, m, d + 1), the weights that came in, the bias last.
        dampings: Candidates for λ, weakest first.

    Returns:
        The best of the candidates, fitted on all rows, or ``initial_weight`` itself if none beats it on the held-back rows.
    """
    if not len(held_out):
        return LayerFit(initial_weight, float("inf"), 1.0, 1.0)
    fitted, held_moments = rows.moments(), held_out.moments()
    variance = max(held_moments.variance(), 1e-300)
    error_before = held_out.squared_error(initial_weight) / variance
    best, weight = _choose_ridge_damping(
        fitted, fitted.yx, initial_weight, dampings, partial(held_out.squared_error, points=True), rows.has_bias
    )
    if rows.has_flat_targets and weight is not None:
        weight = _sweep([rows], Ridge(fitted, dampings[best], rows.has_bias), weight, initial_weight)
        dampings = dampings[max(best - 1, 0) : best + 2]
        cross = weight @ fitted.xx + rows.residual_moments(weight)[1]
        best, weight = _choose_ridge_damping(fitted, cross, initial_weight, dampings, held_out.squared_error, rows.has_bias)
    if weight is None or held_out.squared_error(weight) / variance >= error_before:
        return match_moments(rows, held_out, initial_weight)
    all_moments = fitted + held_moments
    del fitted, held_moments
    ridge = Ridge(all_moments, dampings[best], rows.has_bias)
    final_weight = (
        _sweep([rows, held_out], ridge, weight, initial_weight)
        if rows.has_flat_targets
        else ridge.solve(all_moments.yx, initial_weight)
    )
    final_weight, error, rescaled = correct_moments([rows, held_out], held_out, final_weight, weight)
    return LayerFit(final_weight, dampings[best], error / variance, error_before, rescaled)


def match_moments(rows: RegressionRows, held_out: RegressionRows, initial_weight: np.ndarray) -> LayerFit:
    """``initial_weight`` with the means and variances of its targets where that is better: what is left for the widest
    layers.
    """
    variance = max(held_out.moments().variance(), 1e-300) if len(held_out) else 1.0
    error_before = held_out.squared_error(initial_weight) / variance
    weight, error, rescaled = correct_moments([rows, held_out], held_out, initial_weight, initial_weight)
    return LayerFit(weight, float("inf"), error / variance, error_before, rescaled)


def _choose_ridge_damping(
    fitted: SecondMoments,
    cross: np.ndarray,
    initial_weight: np.ndarray,
    dampings: tuple[float, ...],
    get_error: Callable[[np.ndarray], float],
    has_bias: bool,
) -> tuple[int, np.ndarray | None]:
    """The damping whose solution ``get_error`` likes best, and that solution; None when all are singular.

    The error falls and rises again along ``dampings``: from the middle one goes downhill.
    """
    solutions: dict[int, tuple[float, np.ndarray | None]] = {}

    def error_at(number: int) -> float:
        if not 0 <= number < len(dampings):
            return np.inf
        if number not in solutions:
            weight = Ridge(fitted, dampings[number], has_bias).solve(cross, initial_weight)
            finite = bool(np.isfinite(weight).all())
            solutions[number] = (get_error(weight), weight) if finite else (np.inf, None)
        return solutions[number][0]

    best = len(dampings) // 2
    while not np.isfinite(error_at(best)) and best + 1 < len(dampings):
        best += 1  # singular: only more damping helps
    for step in (-1, 1):
        while error_at(best + step) < error_at(best):
            best += step
    return best, solutions[best][1]


def _sweep(parts: Sequence[RegressionRows], ridge: Ridge, weight: np.ndarray, initial_weight: np.ndarray) -> np.ndarray:
    """Move targets to the nearest good values and solve again, as long as that takes a share of the error away."""
    last_error = np.inf
    for _ in range(MAX_SWEEPS):
        moments = [part.residual_moments(weight) for part in parts]
        error = sum(part_error for part_error, _ in moments)
        if error > (1 - MIN_SWEEP_GAIN) * last_error:
            break
        last_error = error
        cross = np.sum([part_cross for _, part_cross in moments], axis=0)
        # only what is still missing is solved for
        weight = weight + ridge.solve(cross, initial_weight - weight)
    return weight


class Ridge:
    """The damped normal equations of some rows, factorised once for any number of targets.

    Args:
        rows: Their moments.
        damping: λ over the mean diagonal of the Gram matrix, for every column but the bias.
        has_bias: Whether there is a place for a bias; without one, ones explain nothing.
    """

    def __init__(self, rows: SecondMoments, damping: float, has_bias: bool = True) -> None:
        self._has_bias = has_bias
        self._shifted = rows.xx
        if not has_bias:
            self._shifted[:, -1, :] = self._shifted[:, :, -1] = 0.0
            self._shifted[:, -1, -1] = max(rows.count, 1)
        scale = np.mean(np.einsum("gdd->gd", self._shifted)[:, :-1], axis=1, keepdims=True)
        self._ridge = np.repeat(damping * np.where(scale > 0, scale, 1.0), rows.columns + 1, axis=1)
        self._ridge[:, -1] = 1e-12 * max(rows.count, 1)
        np.einsum("gdd->gd", self._shifted)[:] += self._ridge
        self._factor = None
        if rows.groups == 1:
            try:
                # symmetric, so that its transpose, whose order LAPACK wants, can be overwritten
                self._factor = linalg.cho_factor(self._shifted[0].T, lower=True, overwrite_a=True, check_finite=False)
            except linalg.LinAlgError:
                self._shifted[:] = np.nan

    def solve(self, cross: np.ndarray, initial_weight: np.ndarray) -> np.ndarray:
        """The weights (g, m, d + 1) for Σ yᵀ [x 1] = ``cross``, pulled towards ``initial_weight``; not finite when
        singular.
        """
        right_side = cross + initial_weight * self._ridge[:, None, :]
        if not self._has_bias:
            right_side[..., -1] = 0.0
        right_side = right_side.transpose(0, 2, 1)
        if self._factor is not None:
            return np.asarray(linalg.cho_solve(self._factor, right_side[0], check_finite=False).T[None])
        try:
            return np.asarray(np.linalg.solve(self._shifted, right_side).transpose(0, 2, 1))
        except np.linalg.LinAlgError:
            return np.full(initial_weight.shape, np.nan)
