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

from onnxslim.prune.rows import Rows

#: A scale is kept within 1 / LIMIT … LIMIT.
LIMIT = 2.0
#: How many standard errors a correction has to be better by on the rows held back: less may be chance.
SURE = 2.0


def corrected(
    parts: Sequence[Rows], held: Rows, weight: np.ndarray, judged: np.ndarray
) -> tuple[np.ndarray, float, int]:
    """``weight`` with the mean, or the mean and the variance, of each output brought back where that is better.

    Args:
        parts: Rows that tell the means and variances.
        held: Rows that say what is better.
        weight: float64 (g, m, d + 1), the bias last.
        judged: What ``held`` judges in its stead: the same, from rows that ``held`` is not among.

    Returns:
        The weight, Σ of the squared errors of ``judged`` on ``held``, each output as it is then treated, and how many
        outputs were changed.
    """
    own = held.output(judged)
    plain = np.square(held.missing(own))
    if not held.biased:
        return weight, float(plain.sum(dtype=np.float64)), 0
    mean, gain, shift = _towards([parts[0].output(judged)], parts[:1])
    gains = [np.zeros(weight.shape[:2])]
    for moved in (own + _row(mean, own), own * _row(gain, own) + _row(shift, own)):
        less = plain - np.square(held.missing(moved))
        total, spread = less.sum(axis=1, dtype=np.float64), less.std(axis=1, dtype=np.float64)
        gains.append(np.where(total > SURE * spread * np.sqrt(len(held)), total, 0.0))
    best = np.argmax(gains, axis=0)
    result = weight.copy()
    if best.any():
        mean, gain, shift = _towards([part.output(weight) for part in parts], parts)
        result[..., -1] += np.where(best == 1, mean, 0.0)
        result *= np.where(best == 2, gain, 1.0)[..., None]
        result[..., -1] += np.where(best == 2, shift, 0.0)
    error = float(plain.sum(dtype=np.float64) - np.max(gains, axis=0).sum())
    return result, error, int(np.count_nonzero(best))


def _towards(outputs: Sequence[np.ndarray], parts: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What gives ``outputs`` the mean of the nearest good values, and what their variance as well, (g, m) each.

    Returns:
        The shift for the mean alone; gain and shift for both.
    """
    count = max(sum(map(len, parts)), 1)
    missing = [part.missing(output) for part, output in zip(parts, outputs, strict=True)]
    lacks = sum(gap.sum(axis=1, dtype=np.float64) for gap in missing) / count
    mean = sum(output.sum(axis=1, dtype=np.float64) for output in outputs) / count
    spread = sum(_deviations(output, mean) for output in outputs)
    wanted = sum(_deviations(o + gap, mean + lacks) for o, gap in zip(outputs, missing, strict=True))
    varies = (spread > 1e-12 * count) & (wanted > 1e-12 * count)
    gain = np.where(varies, np.sqrt(wanted / np.where(varies, spread, 1.0)), 1.0)
    gain = np.clip(gain, 1 / LIMIT, LIMIT)
    return np.asarray(lacks), gain, np.asarray(mean + lacks - gain * mean)


def _deviations(array: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Σ (a - mean)² of each output: (g, m)."""
    apart = array - _row(mean, array)
    return np.asarray(np.einsum("gnm,gnm->gm", apart, apart))


def _row(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(g, m) as a row of ``like`` (g, n, m), in its dtype."""
    return np.asarray(values[:, None].astype(like.dtype))
