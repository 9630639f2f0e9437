"""Mean and variance of each output, brought back to those of its targets.

It is what re-estimating a BatchNormalization does once that is folded into the layer before it (Nagel et al. 2019; Jordan
et al. 2023). Least squares leaves the means where they should be on rows that it was fitted to, but not behind the flat
part of an activation, nor where the weights that came in were kept; and it shrinks: an output of which it can explain
the share R² has that share of the variance. A scale makes up for this at the price of a larger error, so every output
gets one only where rows that were held back say that it is better so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxslim.pruning.statistics.regression_rows import RegressionRows

#: A scale is kept within 1 / LIMIT … LIMIT.
MAX_GAIN = 2.0
#: How many standard errors a correction has to be better by on the rows held back: less may be chance.
MIN_STANDARD_ERRORS = 2.0


def correct_moments(
    parts: Sequence[RegressionRows], held_out: RegressionRows, weight: np.ndarray, judged_weight: np.ndarray
) -> tuple[np.ndarray, float, int]:
    """``weight`` with the mean, or the mean and the variance, of each output brought back where that is better.

    Args:
        parts: Rows that tell the means and variances.
        held_out: Rows that say what is better.
        weight: float64 (g, m, d + 1), the bias last.
        judged_weight: What ``held_out`` judges in its stead: the same, from rows that ``held_out`` is not among.

    Returns:
        The weight, Σ of the squared errors of ``judged_weight`` on ``held_out``, each output as it is then treated, and
        how many outputs were changed.
    """
    if not held_out.has_bias:
        return weight, held_out.squared_error(judged_weight), 0
    mean, gain, shift = _moment_corrections(parts[:1], judged_weight)
    before, totals, squares = np.zeros(weight.shape[:2]), np.zeros((2, *weight.shape[:2])), np.zeros((2, *weight.shape[:2]))
    for rows in held_out.chunks():
        output = held_out.predict(judged_weight, rows)
        squared_residual = np.square(held_out.residual(output, rows))
        before += squared_residual.sum(axis=1, dtype=np.float64)
        corrected_outputs = output + _as_row(mean, output), output * _as_row(gain, output) + _as_row(shift, output)
        for number, corrected_output in enumerate(corrected_outputs):
            improvement = squared_residual - np.square(held_out.residual(corrected_output, rows))
            totals[number] += improvement.sum(axis=1, dtype=np.float64)
            squares[number] += np.square(improvement, dtype=np.float64).sum(axis=1)
    count = max(len(held_out), 1)
    spread = np.sqrt(np.maximum(squares / count - np.square(totals / count), 0.0))
    is_better = totals > MIN_STANDARD_ERRORS * spread * np.sqrt(count)
    improvements = np.concatenate([np.zeros((1, *weight.shape[:2])), np.where(is_better, totals, 0.0)])
    best = np.argmax(improvements, axis=0)
    result = weight.copy()
    if best.any():
        mean, gain, shift = _moment_corrections(parts, weight)
        result[..., -1] += np.where(best == 1, mean, 0.0)
        result *= np.where(best == 2, gain, 1.0)[..., None]
        result[..., -1] += np.where(best == 2, shift, 0.0)
    error = float(before.sum() - np.max(improvements, axis=0).sum())
    return result, error, int(np.count_nonzero(best))


def _moment_corrections(parts: Sequence[RegressionRows], weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What gives the outputs of ``weight`` the mean of the nearest good values, and what their variance too, (g, m) each.

    Returns:
        The shift for the mean alone; gain and shift for both.
    """
    count, center = 0, np.zeros(weight.shape[:2])
    # of the outputs and of the nearest good values, about a point near their middle: Σ and Σ of squares
    sums, squares = np.zeros((2, *weight.shape[:2])), np.zeros((2, *weight.shape[:2]))
    for part in parts:
        for rows in part.chunks():
            output = part.predict(weight, rows)
            gap = part.residual(output, rows)
            if not count:
                center = output.mean(axis=1, dtype=np.float64)
            count += output.shape[1]
            output -= _as_row(center, output)
            for number, values in enumerate((output, output + gap)):
                sums[number] += values.sum(axis=1, dtype=np.float64)
                squares[number] += np.square(values, dtype=np.float64).sum(axis=1)
    count = max(count, 1)
    mean, mean_gap = center + sums[0] / count, (sums[1] - sums[0]) / count
    spread, target_spread = np.maximum(squares - np.square(sums) / count, 0.0)
    has_variance = (spread > 1e-12 * count) & (target_spread > 1e-12 * count)
    gain = np.where(has_variance, np.sqrt(target_spread / np.where(has_variance, spread, 1.0)), 1.0)
    gain = np.clip(gain, 1 / MAX_GAIN, MAX_GAIN)
    return np.asarray(mean_gap), gain, np.asarray(mean + mean_gap - gain * mean)


def _as_row(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(g, m) as a row of ``like`` (g, n, m), in its dtype."""
    return np.asarray(values[:, None].astype(like.dtype))
