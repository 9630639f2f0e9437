"""Weights that make up for quantisation: least squares and error feedback; arrays in, arrays out.

Everything is batched over groups, so one code serves a dense layer (one group) and a depthwise one (a group a channel).
Shapes: inputs ``x`` (g, r, d), targets ``y`` (g, r, o), weights ``w`` (g, o, d), where r counts sampled positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Ridge strengths, as a share of the mean squared input, that :func:`refit` chooses from; inf keeps the weights.
RIDGES = (np.inf, 1.0, 0.1, 0.01)
#: Damping of the Hessian before it is inverted, as a share of its mean diagonal (Frantar et al., GPTQ, 2022).
DAMPING = 0.01
#: The share of rows, the last ones, that is held back to choose the ridge. Rows come sample by sample, so these are
#: other samples; neighbouring positions of one sample are too alike to prove anything.
HELD = 0.25
#: Columns whose feedback is applied to the rest of the matrix in one product.
BLOCK = 64


@dataclass(frozen=True)
class Rows:
    """Sampled rows of one layer, centred.

    Attributes:
        x: Inputs as the quantised model sees them, float64 (g, r, d), mean 0 over r.
        y: Outputs that the float model has there, float64 (g, r, o), mean 0 over r.
        x_mean: float64 (g, d).
        y_mean: float64 (g, o).
    """

    x: np.ndarray
    y: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray


def centred(x: np.ndarray, y: np.ndarray) -> Rows:
    """``x`` (g, r, d) and ``y`` (g, r, o) as :class:`Rows`."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    return Rows(x - x_mean[:, None], y - y_mean[:, None], x_mean, y_mean)


def hessian(rows: Rows) -> np.ndarray:
    """XᵀX / r of the inputs: float64 (g, d, d)."""
    return np.asarray(rows.x.transpose(0, 2, 1) @ rows.x / rows.x.shape[1])


def refit(w: np.ndarray, rows: Rows) -> tuple[np.ndarray, float]:
    """Ridge regression towards the float outputs that starts from ``w``; the ridge is chosen on held-back rows.

    Solves min over W of ‖Y − X Wᵀ‖² + λ ‖W − w‖², so that with few rows or λ = ∞ the weights stay what they were.

    Returns:
        The weights (g, o, d) and the λ that was chosen, relative to the mean squared input.
    """
    first = round(rows.x.shape[1] * (1 - HELD))
    fit_x, fit_y, test_x, test_y = rows.x[:, :first], rows.y[:, :first], rows.x[:, first:], rows.y[:, first:]
    if not fit_x.shape[1] or not test_x.shape[1]:
        return w, float("inf")
    best, chosen = float(np.square(test_y - test_x @ w.transpose(0, 2, 1)).sum()), float("inf")
    for ridge in RIDGES[1:]:
        error = float(np.square(test_y - test_x @ _ridge(w, fit_x, fit_y, ridge).transpose(0, 2, 1)).sum())
        if error < best * (1 - 1e-3):
            best, chosen = error, ridge
    return (w, chosen) if chosen == float("inf") else (_ridge(w, rows.x, rows.y, chosen), chosen)


def _ridge(w: np.ndarray, x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    gram = x.transpose(0, 2, 1) @ x
    residual = x.transpose(0, 2, 1) @ (y - x @ w.transpose(0, 2, 1))
    size = gram.shape[1]
    scale = np.trace(gram, axis1=1, axis2=2)[:, None, None] / size
    step = np.linalg.solve(gram + np.maximum(ridge * scale, 1e-12) * np.eye(size), residual)
    return np.asarray(w + step.transpose(0, 2, 1))


def round_codes(w: np.ndarray, h: np.ndarray, scales: np.ndarray, top: int) -> np.ndarray:
    """Codes that round ``w`` with the least output error instead of the least weight error.

    GPTQ (Frantar et al., 2022): columns are rounded in order of decreasing input energy, and what each rounding lost is
    made up by the columns still to come, through the inverse Hessian's Cholesky factor.

    Args:
        w: (g, o, d).
        h: (g, d, d), :func:`hessian`.
        scales: (g, o).
        top: Codes lie in [−top, top].

    Returns:
        int8 (g, o, d).
    """
    groups, outputs, size = w.shape
    energy = np.einsum("gdd->d", h)
    order = np.argsort(-energy, kind="stable")
    w = w[:, :, order].copy()
    h = h[:, order][:, :, order]
    mean = np.trace(h, axis1=1, axis2=2)[:, None, None] / size
    h = h + np.where(mean > 0, DAMPING * mean, 1.0) * np.eye(size)
    factor = np.linalg.cholesky(np.linalg.inv(h)).transpose(0, 2, 1)
    codes = np.empty((groups, outputs, size), np.int8)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        lost = np.empty((groups, outputs, stop - start))
        for column in range(start, stop):
            code = np.clip(np.rint(w[:, :, column] / scales), -top, top)
            codes[:, :, column] = code
            error = (w[:, :, column] - code * scales) / factor[:, column, column, None]
            lost[:, :, column - start] = error
            w[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
        w[:, :, stop:] -= lost @ factor[:, start:stop, stop:]
    return codes[:, :, np.argsort(order, kind="stable")]


def bias(rows: Rows, w: np.ndarray) -> np.ndarray:
    """The bias that makes the mean output right: float64 (g, o)."""
    return np.asarray(rows.y_mean - np.einsum("god,gd->go", w, rows.x_mean))


def output_error(rows: Rows, w: np.ndarray) -> float:
    """Relative squared error of the (bias-corrected) layer with weights ``w``."""
    signal = float(np.square(rows.y).sum())
    return float(np.square(rows.y - rows.x @ w.transpose(0, 2, 1)).sum()) / max(signal, 1e-30)
