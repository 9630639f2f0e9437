"""The best weights for a layer whose inputs have changed: least squares towards what the original layer gave out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from onnxslim.prune.gram import Moments

#: λ over the mean diagonal of the Gram matrix, weakest first; the held-back rows choose.
DAMPINGS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class Fit:
    """Repaired weights and how well they do.

    Attributes:
        weight: float64 (g, m, d + 1), the bias last.
        damping: The λ that was chosen, over the mean diagonal of the Gram matrix.
        error: Σ (y - ŷ)² over Σ (y - mean y)² on the held-back rows (on all rows when none are held back).
        before: The same for the weights that came in.
    """

    weight: np.ndarray
    damping: float
    error: float
    before: float


def fit(rows: Moments, held: Moments, start: np.ndarray, dampings: tuple[float, ...] = DAMPINGS) -> Fit:
    """W* = (Y Xᵀ + λ W₀) (X Xᵀ + λ I)⁻¹ with a row of ones for the bias, λ chosen where it was not fitted.

    The pull is towards the weights that came in, W₀, not towards zero: a direction that the data say nothing about (a
    channel that never fires, fewer rows than columns) keeps the weight that training gave it. The bias is not damped.

    Args:
        rows: Moments to fit on.
        held: Moments that choose λ; with ``count`` 0 the strongest damping within 1 % of the best fit is taken.
        start: (g, m, d + 1), the weights that came in, the bias last.
        dampings: Candidates for λ, weakest first.

    Returns:
        The best of the candidates fitted on all rows, or ``start`` itself if none beats it on the held-back rows.
    """
    judge = held if held.count else rows
    variance = max(judge.variance(), 1e-300)
    before = float(judge.error(start).sum()) / variance
    errors = [float(judge.error(solve(rows, start, d)).sum()) / variance for d in dampings]
    best = int(np.argmin(errors))
    if not held.count:
        best = max(i for i, error in enumerate(errors) if error <= 1.01 * errors[best])
    if not np.isfinite(errors[best]) or errors[best] >= before:
        return Fit(start, float("inf"), before, before)
    return Fit(solve(rows + held, start, dampings[best]), dampings[best], errors[best], before)


def solve(rows: Moments, start: np.ndarray, damping: float) -> np.ndarray:
    """The damped solution for one λ = ``damping`` · mean(diag): float64 (g, m, d + 1); not finite when singular."""
    diagonal = np.einsum("gdd->gd", rows.xx)
    ridge = np.repeat(damping * np.mean(diagonal[:, :-1], axis=1, keepdims=True), rows.columns + 1, axis=1)
    ridge[ridge == 0] = damping
    ridge[:, -1] = 1e-12 * max(rows.count, 1)
    shifted = rows.xx.copy()
    np.einsum("gdd->gd", shifted)[:] += ridge
    wanted = (rows.yx + start * ridge[:, None, :]).transpose(0, 2, 1)
    try:
        if rows.groups > 1:
            return np.asarray(np.linalg.solve(shifted, wanted).transpose(0, 2, 1))
        factor = linalg.cho_factor(shifted[0], lower=True, check_finite=False)
        return np.asarray(linalg.cho_solve(factor, wanted[0], check_finite=False).T[None])
    except linalg.LinAlgError:
        return np.full(start.shape, np.inf)


def match_variance(rows: Moments, weight: np.ndarray, limit: float = 2.0) -> np.ndarray:
    """``weight`` (g, m, d + 1) rescaled so that each output's mean and variance over ``rows`` are its target's.

    Least squares shrinks towards the mean; this is what re-estimating a folded BatchNormalization would undo. A factor
    is kept within 1/``limit`` … ``limit``, and an output that does not vary keeps its scale.
    """
    n = max(rows.count, 1)
    mean = np.einsum("gmd,gd->gm", weight, rows.xx[:, -1]) / n
    target = rows.yx[..., -1] / n
    spread = np.einsum("gmd,gmd->gm", weight @ rows.xx, weight) / n - mean**2
    wanted = rows.yy / n - target**2
    varies = (spread > 1e-12) & (wanted > 1e-12)
    factor = np.where(varies, np.sqrt(np.maximum(wanted, 0) / np.where(varies, spread, 1)), 1.0)
    factor = np.clip(factor, 1 / limit, limit)
    scaled = weight * factor[..., None]
    scaled[..., -1] += target - factor * mean
    return np.asarray(scaled)
