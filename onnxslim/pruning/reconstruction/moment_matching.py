"""Mean and variance of each output, brought back to those of its targets.

It is what re-estimating a BatchNormalization does once that is folded into the layer before it (Nagel et al. 2019; Jordan
et al. 2023). Least squares leaves the means where they should be on rows that it was fitted to, but not behind the flat
part of an activation, nor where the weights that came in were kept; and it shrinks: an output of which it can explain
the share R² has that share of the variance. A scale makes up for this at the price of a larger error, so every output
gets one only where rows that were held back say that it is better so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnxslim.pruning.statistics.regression_rows import RegressionRows

#: A scale is kept within 1 / LIMIT … LIMIT.
MAX_GAIN = 2.0
#: How many standard errors a correction has to be better by on the rows held back: less may be chance.
MIN_STANDARD_ERRORS = 2.0


def correct_moments(
    folds: Sequence[RegressionRows], weight: np.ndarray, fold_weights: Mapping[int, np.ndarray]
) -> tuple[np.ndarray, dict[int, np.ndarray], float, int]:
    """``weight`` with the mean, or the mean and the variance, of each output brought back where that is better.

    Args:
        folds: The rows.
        weight: float64 (g, m, d + 1), the bias last, for all of them.
        fold_weights: Fold -> the same from rows that it is not among: what it judges. What corrects them are the means and
            variances of ``weight`` on the other folds.

    Returns:
        The weight, those of the folds, Σ of the squared errors of each fold by its own, and how many outputs were changed.
    """
    if not folds[0].has_bias:
        error = sum(folds[fold].squared_error(judged) for fold, judged in fold_weights.items())
        return weight, dict(fold_weights), error, 0
    sums, shape = _OutputSums(folds, weight), weight.shape[:2]
    before, totals, squares = np.zeros(shape), np.zeros((2, *shape)), np.zeros((2, *shape))
    sample_count = 0
    corrections = {fold: sums.corrections(without=fold) for fold in fold_weights}
    for fold, judged_weight in fold_weights.items():
        judge, (mean, gain, shift) = folds[fold], corrections[fold]
        for rows in judge.chunks():
            # rows of one sample are alike: it is samples that say how sure an improvement is
            starts = np.flatnonzero(np.diff(judge.blocks[rows], prepend=-1))
            sample_count += len(starts)
            output = judge.predict(judged_weight, rows)
            squared_residual = np.square(judge.residual(output, rows))
            before += squared_residual.sum(axis=1, dtype=np.float64)
            corrected_outputs = output + _as_row(mean, output), output * _as_row(gain, output) + _as_row(shift, output)
            for choice, corrected_output in enumerate(corrected_outputs):
                improvement = squared_residual - np.square(judge.residual(corrected_output, rows))
                improvement = np.add.reduceat(improvement, starts, axis=1, dtype=np.float64)
                totals[choice] += improvement.sum(axis=1)
                squares[choice] += np.square(improvement).sum(axis=1)
    spread = np.sqrt(np.maximum(squares - np.square(totals) / max(sample_count, 1), 0.0))
    is_better = totals > MIN_STANDARD_ERRORS * spread
    improvements = np.concatenate([np.zeros((1, *shape)), np.where(is_better, totals, 0.0)])
    best = np.argmax(improvements, axis=0)
    error = float(before.sum() - np.max(improvements, axis=0).sum())
    if not best.any():
        return weight, dict(fold_weights), error, 0
    result = _apply_corrections(weight, best, *sums.corrections())
    judged = {fold: _apply_corrections(fold_weights[fold], best, *correction) for fold, correction in corrections.items()}
    return result, judged, error, int(np.count_nonzero(best))


def _apply_corrections(
    weight: np.ndarray, choice: np.ndarray, mean: np.ndarray, gain: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    """``weight`` with, by output, nothing (0), the mean (1) or the mean and variance (2) corrected."""
    result = weight.copy()
    result[..., -1] += np.where(choice == 1, mean, 0.0)
    result *= np.where(choice == 2, gain, 1.0)[..., None]
    result[..., -1] += np.where(choice == 2, shift, 0.0)
    return result


class _OutputSums:
    """Means and variances of what a weight gives out on rows in folds, and of the nearest good values."""

    def __init__(self, folds: Sequence[RegressionRows], weight: np.ndarray) -> None:
        first = next((rows for rows in folds if len(rows)), folds[0])
        self._counts, self._center = [len(rows) for rows in folds], first.mean_output(weight)
        # for each fold, of the outputs and of the nearest good values, about the center: Σ and Σ of squares
        self._sums = np.zeros((len(folds), 2, 2, *weight.shape[:2]))
        for part, sums in zip(folds, self._sums, strict=True):
            for rows in part.chunks():
                output = part.predict(weight, rows)
                gap = part.residual(output, rows)
                output -= _as_row(self._center, output)
                for number, values in enumerate((output, output + gap)):
                    sums[0, number] += values.sum(axis=1, dtype=np.float64)
                    sums[1, number] += np.square(values, dtype=np.float64).sum(axis=1)

    def corrections(self, without: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What gives the outputs the mean of the nearest good values, and what their variance too, (g, m) each.

        Args:
            without: A fold that is not to be looked at.

        Returns:
            The shift for the mean alone; gain and shift for both.
        """
        chosen = [fold for fold in range(len(self._counts)) if fold != without]
        totals, squares = self._sums[chosen].sum(axis=0)
        count = max(sum(self._counts[fold] for fold in chosen), 1)
        mean, mean_gap = self._center + totals[0] / count, (totals[1] - totals[0]) / count
        spread, target_spread = np.maximum(squares - np.square(totals) / count, 0.0)
        has_variance = (spread > 1e-12 * count) & (target_spread > 1e-12 * count)
        gain = np.where(has_variance, np.sqrt(target_spread / np.where(has_variance, spread, 1.0)), 1.0)
        gain = np.clip(gain, 1 / MAX_GAIN, MAX_GAIN)
        return np.asarray(mean_gap), gain, np.asarray(mean + mean_gap - gain * mean)


def _as_row(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(g, m) as a row of ``like`` (g, n, m), in its dtype."""
    return np.asarray(values[:, None].astype(like.dtype))
