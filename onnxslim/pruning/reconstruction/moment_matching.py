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
    output = held_out.predict(judged_weight)
    squared_residual = np.square(held_out.residual(output))
    if not held_out.has_bias:
        return weight, float(squared_residual.sum(dtype=np.float64)), 0
    mean, gain, shift = _moment_corrections([parts[0].predict(judged_weight)], parts[:1])
    improvements = [np.zeros(weight.shape[:2])]
    for corrected_output in (output + _as_row(mean, output), output * _as_row(gain, output) + _as_row(shift, output)):
        improvement = squared_residual - np.square(held_out.residual(corrected_output))
        total, spread = improvement.sum(axis=1, dtype=np.float64), improvement.std(axis=1, dtype=np.float64)
        improvements.append(np.where(total > MIN_STANDARD_ERRORS * spread * np.sqrt(len(held_out)), total, 0.0))
    best = np.argmax(improvements, axis=0)
    result = weight.copy()
    if best.any():
        mean, gain, shift = _moment_corrections([part.predict(weight) for part in parts], parts)
        result[..., -1] += np.where(best == 1, mean, 0.0)
        result *= np.where(best == 2, gain, 1.0)[..., None]
        result[..., -1] += np.where(best == 2, shift, 0.0)
    error = float(squared_residual.sum(dtype=np.float64) - np.max(improvements, axis=0).sum())
    return result, error, int(np.count_nonzero(best))


def _moment_corrections(
    outputs: Sequence[np.ndarray], parts: Sequence[RegressionRows]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What gives ``outputs`` the mean of the nearest good values, and what their variance as well, (g, m) each.

    Returns:
        The shift for the mean alone; gain and shift for both.
    """
    count = max(sum(map(len, parts)), 1)
    residuals = [part.residual(output) for part, output in zip(parts, outputs, strict=True)]
    mean_gap = sum(gap.sum(axis=1, dtype=np.float64) for gap in residuals) / count
    mean = sum(output.sum(axis=1, dtype=np.float64) for output in outputs) / count
    spread = sum(_deviations(output, mean) for output in outputs)
    target_spread = sum(_deviations(o + gap, mean + mean_gap) for o, gap in zip(outputs, residuals, strict=True))
    has_variance = (spread > 1e-12 * count) & (target_spread > 1e-12 * count)
    gain = np.where(has_variance, np.sqrt(target_spread / np.where(has_variance, spread, 1.0)), 1.0)
    gain = np.clip(gain, 1 / MAX_GAIN, MAX_GAIN)
    return np.asarray(mean_gap), gain, np.asarray(mean + mean_gap - gain * mean)


def _deviations(array: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Σ (a - mean)² of each output: (g, m)."""
    deviation = array - _as_row(mean, array)
    return np.asarray(np.einsum("gnm,gnm->gm", deviation, deviation))


def _as_row(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(g, m) as a row of ``like`` (g, n, m), in its dtype."""
    return np.asarray(values[:, None].astype(like.dtype))
