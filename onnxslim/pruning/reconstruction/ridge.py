"""Damped normal equations, factorised once."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from onnxslim.pruning.statistics.second_moments import SecondMoments


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
