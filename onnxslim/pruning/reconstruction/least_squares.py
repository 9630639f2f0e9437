"""The best weights for a layer whose inputs have changed: least squares towards what the original layer gave out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from onnxslim.pruning.reconstruction.fold_moments import FoldMoments
from onnxslim.pruning.reconstruction.moment_matching import correct_moments
from onnxslim.pruning.reconstruction.ridge import Ridge
from onnxslim.pruning.statistics.regression_rows import RegressionRows

#: Candidates for λ, over the mean diagonal of the Gram matrix, weakest first; the folds left out choose.
RIDGE_DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: How often, at most, targets behind a flat part of the activation are moved to where the layer already is, and which
#: share of the error a sweep has to take away to be worth another.
MAX_SWEEPS, MIN_SWEEP_GAIN = 4, 0.01


@dataclass(frozen=True)
class LayerFit:
    """Repaired weights and how well they do.

    Attributes:
        weight: float64 (g, m, d + 1), the bias last.
        fold_weights: Fold -> the same, fitted without it; of the folds that judge.
        damping: The best λ for all outputs together, over the mean diagonal of the Gram matrix; inf when none was better.
        error: Cross-validated: of folds by the weights fitted without them, over the variance of their targets.
        error_before: The same for the weights that came in.
        rescaled: Outputs whose mean, or mean and variance, were brought back to their targets'.
        error_seen: As ``error``, on the rows that ``weight`` was fitted to.
    """

    weight: np.ndarray
    fold_weights: dict[int, np.ndarray]
    damping: float
    error: float
    error_before: float
    rescaled: int = 0
    error_seen: float = 1.0


def fit_layer(
    folds: Sequence[RegressionRows], initial_weight: np.ndarray, dampings: tuple[float, ...] = RIDGE_DAMPINGS
) -> LayerFit:
    """W* = (Y Xᵀ + λ W₀) (X Xᵀ + λ I)⁻¹ with a row of ones for the bias, λ chosen for each output by cross-validation.

    The pull is towards the weights that came in, W₀, not towards zero: a direction that the data say nothing about (a
    channel that never fires, fewer rows than columns) keeps the weight that training gave it. The bias is not damped.

    Where an activation is flat, targets are sets, not points: an output that a Relu would cut anyway may be any
    negative number. The distance to such sets is convex; it falls with every sweep of moving each target to the point
    of its set nearest the output and solving again (after Zhang et al. 2015).

    What comes of it, fitted or not, gets the means and variances of its targets where rows that were left out say that
    this is better (:mod:`onnxslim.pruning.reconstruction.moment_matching`).

    Args:
        folds: The rows, those of one sample in one fold: a fold is judged by weights fitted to the others. Where only one
            has any nothing can be judged, and nothing is fitted.
        initial_weight: (g, m, d + 1), the weights that came in, the bias last.
        dampings: Candidates for λ, weakest first.

    Returns:
        The best of the candidates, fitted on all rows, or ``initial_weight`` itself if none beats it on rows left out.
    """
    if sum(len(rows) > 0 for rows in folds) < 2:
        return LayerFit(initial_weight, {}, float("inf"), 1.0, 1.0)
    moments, has_bias = FoldMoments(folds), folds[0].has_bias
    crosses, cross = {fold: moments.without(fold).yx for fold in moments.judges}, moments.total.yx
    choice = choose_dampings(moments, crosses, initial_weight, dampings, points=True)
    if np.isfinite(choice.common) and any(rows.has_flat_targets for rows in folds):
        common = choice.common
        del choice, crosses
        ridge = Ridge(moments.total, common, has_bias)
        weight = _sweep(folds, ridge, ridge.solve(cross, initial_weight), initial_weight)
        del ridge
        cross = weight @ moments.total.xx
        crosses = {fold: weight @ moments.without(fold).xx for fold in moments.judges}
        for number, rows in enumerate(folds):
            missing = rows.residual_moments(weight)[1]
            cross += missing
            for fold in moments.judges:
                crosses[fold] += missing * (fold != number)
        start = dampings.index(common)
        choice = choose_dampings(moments, crosses, initial_weight, dampings[max(start - 1, 0) : start + 2])
    weight = initial_weight.copy()
    for damping in np.unique(choice.dampings[np.isfinite(choice.dampings)]):
        outputs = choice.dampings == damping
        weight[outputs] = Ridge(moments.total, float(damping), has_bias).solve(cross, initial_weight)[outputs]
    if not np.isfinite(weight).all():
        return match_moments(folds, initial_weight)
    del crosses, moments
    error_before = sum(folds[fold].squared_error(initial_weight) for fold in choice.fold_weights)
    weight, fold_weights, error, rescaled = correct_moments(folds, weight, choice.fold_weights)
    if error >= error_before:
        return match_moments(folds, initial_weight)
    variance = target_variance(folds, fold_weights)
    seen = sum(rows.squared_error(weight) for rows in folds) / target_variance(folds, range(len(folds)))
    return LayerFit(weight, fold_weights, choice.common, error / variance, error_before / variance, rescaled, seen)


def match_moments(folds: Sequence[RegressionRows], initial_weight: np.ndarray) -> LayerFit:
    """``initial_weight`` with the means and variances of its targets where that is better: what is left for the widest
    layers.
    """
    error_before = sum(rows.squared_error(initial_weight) for rows in folds)
    weight, fold_weights, error, rescaled = correct_moments(
        folds, initial_weight, dict.fromkeys(range(len(folds)), initial_weight)
    )
    variance = target_variance(folds, fold_weights)
    error = error / variance if rescaled else error_before / variance
    return LayerFit(weight, fold_weights, float("inf"), error, error_before / variance, rescaled, error)


def cross_validated_error(folds: Sequence[RegressionRows], fold_weights: Mapping[int, np.ndarray]) -> float:
    """Σ of the squared errors of folds by the weights that were fitted without them."""
    return sum(folds[fold].squared_error(weight) for fold, weight in fold_weights.items())


def target_variance(folds: Sequence[RegressionRows], judges: Iterable[int]) -> float:
    """Σ (y - mean y)² over the targets of the folds that judge: what their error is measured against; never 0."""
    return max(reduce(add, (folds[fold].target_moments() for fold in judges)).variance(), 1e-300)


@dataclass(frozen=True)
class DampingChoice:
    """Which λ rows left out ask for.

    Attributes:
        common: The best for all outputs together; inf where none is better than the weights that came in.
        dampings: (g, m), the best for each output by itself, inf for those that are to keep their weights.
        fold_weights: Fold -> (g, m, d + 1), each output under its own λ, fitted without the fold.
    """

    common: float
    dampings: np.ndarray
    fold_weights: dict[int, np.ndarray]


def choose_dampings(
    moments: FoldMoments,
    crosses: Mapping[int, np.ndarray],
    initial_weight: np.ndarray,
    dampings: tuple[float, ...],
    *,
    points: bool = False,
) -> DampingChoice:
    """The λ for each output whose solutions do best on the folds left out.

    Outputs differ in how much of them the inputs explain, and so in how far their weights are to be drawn back to those that
    came in. The error of all together falls and rises again along ``dampings``: from the middle one goes downhill, and each
    output has the best of those that were looked at. One fold alone is too little to judge each by itself: then all have the
    same.

    Args:
        moments: Of the rows.
        crosses: Fold -> Σ yᵀ [x 1] of the other folds.
        initial_weight: (g, m, d + 1), the weights that came in.
        dampings: Candidates, weakest first.
        points: Compare with the targets themselves, also where others are as good.
    """
    has_bias, judges = moments.folds[0].has_bias, list(crosses)
    kept = dict.fromkeys(judges, initial_weight)
    kept_errors = _output_errors(moments.folds, kept, points=points)
    known_errors: dict[int, float] = {}
    chosen, lowest = np.full(kept_errors.shape, np.inf), kept_errors.copy()
    fold_weights = {fold: initial_weight.copy() for fold in judges}

    def error_at(number: int) -> float:
        if not 0 <= number < len(dampings):
            return np.inf
        if number not in known_errors:
            weights = {
                fold: Ridge(moments.without(fold), dampings[number], has_bias).solve(cross, initial_weight)
                for fold, cross in crosses.items()
            }
            finite = all(bool(np.isfinite(weight).all()) for weight in weights.values())
            errors = _output_errors(moments.folds, weights, points=points) if finite else np.full(kept_errors.shape, np.inf)
            damping, total = dampings[number], float(errors.sum())
            # of alike ones the weakest, whichever was looked at first; what came in goes before all
            is_better = (errors < lowest) | ((errors == lowest) & np.isfinite(chosen) & (chosen > damping))
            if len(judges) == 1:
                is_better[:] = total < min([float(kept_errors.sum()), *known_errors.values()])
            known_errors[number] = total
            chosen[is_better], lowest[is_better] = damping, errors[is_better]
            for fold in judges:
                fold_weights[fold][is_better] = weights[fold][is_better]
        return known_errors[number]

    best = len(dampings) // 2
    while not np.isfinite(error_at(best)) and best + 1 < len(dampings):
        best += 1  # singular: only more damping helps
    for step in (-1, 1):
        while error_at(best + step) < error_at(best):
            best += step
    common = dampings[best] if error_at(best) < kept_errors.sum() else np.inf
    return DampingChoice(common, chosen, fold_weights)


def _output_errors(folds: Sequence[RegressionRows], weights: Mapping[int, np.ndarray], *, points: bool) -> np.ndarray:
    """Σ of the squared errors of folds by their weights, for each output: float64 (g, m)."""
    return np.asarray(sum(folds[fold].squared_errors(weight, points=points) for fold, weight in weights.items()))


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
