"""Weights and biases that make up for quantisation: error feedback and means; arrays in, arrays out.

Everything is batched over groups, so one code serves a dense layer (one group) and a depthwise one (a group a channel).
Shapes: inputs ``x`` (g, r, d), targets ``y`` (g, r, o), weights ``w`` (g, o, d), where r counts sampled positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Damping of the Hessian before it is inverted, as a share of its mean diagonal (Frantar et al., GPTQ, 2022).
HESSIAN_DAMPING = 0.01
#: Scales that outputs with few inputs may have, as multiples of the least.
SCALE_MULTIPLES = np.linspace(1.0, 1.25, 26)
#: Rows that errors are taken over.
MAX_ERROR_ROWS = 256
#: Blocks of rows whose means the median is taken of.
MEDIAN_BLOCKS = 16
#: Columns whose feedback is applied to the rest of the matrix in one product.
FEEDBACK_BLOCK_SIZE = 64
#: Outputs whose biases are found at a time.
BIAS_BLOCK_SIZE = 64


@dataclass(frozen=True)
class SampledRows:
    """Sampled rows of one layer.

    Attributes:
        x: Inputs as the quantised model sees them, float32 (g, r, d).
        y: Outputs that the float model has there, float32 (g, r, o).
        x_mean: float64 (g, d).
        y_mean: float64 (g, o).
    """

    x: np.ndarray
    y: np.ndarray
    x_mean: np.ndarray
    y_mean: np.ndarray


def make_sampled_rows(x: np.ndarray, y: np.ndarray) -> SampledRows:
    """``x`` (g, r, d) and ``y`` (g, r, o) as :class:`SampledRows`."""
    x, y = x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)
    return SampledRows(x, y, _means(x), _means(y))


def _means(values: np.ndarray) -> np.ndarray:
    """Means over the rows, float64 (g, …)."""
    if len(values) == 1:
        return np.asarray(values.mean(axis=1, dtype=np.float64))
    # of many small groups products with ones are ten times faster
    share = np.full((1, values.shape[1]), 1.0 / values.shape[1], np.float32)
    return np.asarray((share @ values)[:, 0], np.float64)


def compute_hessian(sampled: SampledRows) -> np.ndarray:
    """XᵀX / r of the centred inputs, float64 (g, d, d)."""
    # the product in single precision: its rounding is far below what sampling rows leaves open
    centered = sampled.x - sampled.x_mean[:, None].astype(np.float32)
    return np.asarray((centered.transpose(0, 2, 1) @ centered).astype(np.float64) / sampled.x.shape[1])


def round_gptq(w: np.ndarray, hessian: np.ndarray, scales: np.ndarray, max_code: int) -> np.ndarray:
    """Codes that round ``w`` with the least output error instead of the least weight error.

    GPTQ (Frantar et al., 2022): columns are rounded in order of decreasing input energy, and what each rounding lost is
    made up by the columns still to come, through the inverse Hessian's Cholesky factor.

    Args:
        w: (g, o, d).
        hessian: (g, d, d), the Hessian of the squared output error.
        scales: (g, o).
        max_code: Codes lie in [−top, top].

    Returns:
        int8 (g, o, d).
    """
    order = np.argsort(-np.einsum("gdd->d", hessian), kind="stable")
    factor = factor_inverse_hessian(hessian[:, order][:, :, order], HESSIAN_DAMPING)
    grid = CodeGrid(scales, -max_code, max_code)
    codes = round_with_feedback(w[:, :, order], factor, FEEDBACK_BLOCK_SIZE, lambda start, block: grid)
    return codes[:, :, np.argsort(order, kind="stable")].astype(np.int8)


@dataclass(frozen=True)
class CodeGrid:
    """What codes of some columns stand for: their scales (g, o), and the least and the greatest code, of all or (g, o)."""

    scales: np.ndarray
    low: np.ndarray | float
    high: np.ndarray | float


def round_with_feedback(
    w: np.ndarray, factor: np.ndarray, block_size: int, find_grid: Callable[[int, np.ndarray], CodeGrid]
) -> np.ndarray:
    """Codes of ``w``, column by column in the order given; what each rounding loses goes on to the columns behind it.

    Args:
        w: (g, o, d).
        factor: Of :func:`factor_inverse_hessian`, (g, d, d).
        block_size: Columns whose feedback is applied to all behind them in one product.
        find_grid: That of the columns that begin at a position, from what those hold by then, float64 (g, o, up to
            ``block_size``).

    Returns:
        float64 (g, o, d), whole numbers.
    """
    remaining, codes = w.astype(np.float64), np.empty(w.shape)
    for start in range(0, w.shape[2], block_size):
        stop = min(start + block_size, w.shape[2])
        block = remaining[:, :, start:stop]
        errors, grid = np.empty_like(block), find_grid(start, block)
        for column in range(stop - start):
            row = factor[:, start + column, start:stop]
            code = np.clip(np.rint(block[:, :, column] / grid.scales), grid.low, grid.high)
            codes[:, :, start + column] = code
            errors[:, :, column] = (block[:, :, column] - code * grid.scales) / row[:, column, None]
            block[:, :, column:] -= errors[:, :, column, None] * row[:, None, column:]
        remaining[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return codes


def search_scales(w: np.ndarray, hessian: np.ndarray, scales: np.ndarray, max_code: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of outputs that have few inputs, as depthwise ones have.

    The errors of few roundings do not average out: between one scale and the next the output's error varies by ten times
    and more. Of scales a little larger than the least one, each output gets the best.

    Args:
        w: (g, o, d).
        hessian: (g, d, d).
        scales: float32 (g, o), the least that hold the weights.
        max_code: Codes lie in [−top, top].

    Returns:
        int8 (g, o, d) and float32 (g, o).
    """
    best_error, best_codes, best_scales = np.full(scales.shape, np.inf), np.zeros(w.shape, np.int8), scales.copy()
    for multiple in SCALE_MULTIPLES:
        candidate_scales = (scales * multiple).astype(np.float32)
        candidate_codes = round_gptq(w, hessian, candidate_scales.astype(np.float64), max_code)
        gap = w - candidate_codes * candidate_scales[:, :, None].astype(np.float64)
        error = np.einsum("god,gde,goe->go", gap, hessian, gap, optimize=True)
        better = error < best_error
        best_error, best_scales = np.where(better, error, best_error), np.where(better, candidate_scales, best_scales)
        best_codes = np.where(better[:, :, None], candidate_codes, best_codes)
    return best_codes, best_scales


def factor_inverse_hessian(hessian: np.ndarray, damping: float) -> np.ndarray:
    """Upper triangular factors of the damped inverses of ``compute_hessian`` (g, d, d): how a column's error goes on to
    later ones.
    """
    mean = np.trace(hessian, axis1=1, axis2=2)[:, None, None] / hessian.shape[-1]
    damped = hessian + np.where(mean > 0, damping * mean, 1.0) * np.eye(hessian.shape[-1])
    factor: np.ndarray = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return factor


def fit_bias(
    sampled: SampledRows, w: np.ndarray, start: np.ndarray, clip: tuple[float, float] = (-np.inf, np.inf)
) -> np.ndarray:
    """The bias that makes the typical output right behind the activation: float64 (g, o).

    Outputs are compared after clipping to ``clip``: what a Relu cuts off or a range saturates may err as it likes, and
    letting it count would shift the values that are used. Their difference is averaged by the median of block means
    (Lugosi and Mendelson, Mean estimation under heavy tails, 2019): one sample whose values saturate moves a plain mean
    far from what all the others need. Newton's iteration; the share of values inside the clip is the slope.

    Args:
        sampled: Sampled rows, sample by sample.
        w: (g, o, d), the weights as they will be computed with.
        start: (g, o), the layer's own bias; a channel that hardly ever survives says little and keeps it.
        clip: The range of values that survive behind the layer.
    """
    groups, outputs, _ = w.shape
    result = np.empty((groups, outputs))
    # a few outputs at a time, whatever group they are of: what is iterated over then stays in the cache
    group_count = max(1, BIAS_BLOCK_SIZE // outputs)
    for first in range(0, groups, group_count):
        for begin in range(0, outputs, BIAS_BLOCK_SIZE):
            block = np.s_[first : first + group_count, begin : begin + BIAS_BLOCK_SIZE]
            x, y = sampled.x[block[0]], sampled.y[block[0], :, block[1]]
            result[block] = _fit_bias_block(x, y, w[block].astype(np.float32), start[block], clip)
    return result


def _fit_bias_block(x: np.ndarray, y: np.ndarray, w: np.ndarray, start: np.ndarray, clip: tuple[float, float]) -> np.ndarray:
    low, high = clip
    layer_outputs = (x @ w.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(x.shape[1], -1)
    target_outputs = np.clip(y, low, high).transpose(1, 0, 2).reshape(layer_outputs.shape)
    starts = np.arange(0, len(layer_outputs), -(-len(layer_outputs) // MEDIAN_BLOCKS))
    sizes = np.diff([*starts, len(layer_outputs)])[:, None]
    # a hundredth of the outputs' spread is far below what their quantisation leaves of a bias
    tolerance = 0.01 * target_outputs.std(axis=0)
    result, active = start.astype(np.float64).reshape(-1), np.arange(layer_outputs.shape[1])
    for _ in range(10):
        outputs = layer_outputs + result[active].astype(np.float32)
        clipped = np.clip(outputs, low, high)
        slope = np.count_nonzero(clipped == outputs, axis=0) / len(layer_outputs)
        gaps = np.add.reduceat(target_outputs - clipped, starts, axis=0) / sizes
        step = np.where(slope > 0.02, np.median(gaps, axis=0) / np.maximum(slope, 0.1), 0.0)
        result[active] += step
        unconverged = np.abs(step) > tolerance[active]
        if not unconverged.any():
            break
        layer_outputs, target_outputs = layer_outputs[:, unconverged], target_outputs[:, unconverged]
        active = active[unconverged]
    return result.reshape(start.shape)


def compute_output_errors(sampled: SampledRows, *weights: np.ndarray) -> list[float]:
    """Relative squared error of the mean-corrected layer with each of ``weights``, over :data:`MAX_ERROR_ROWS` of the
    rows.
    """
    row_subset = slice(None, None, max(1, sampled.x.shape[1] // MAX_ERROR_ROWS))
    x = sampled.x[:, row_subset] - sampled.x_mean[:, None].astype(np.float32)
    y = sampled.y[:, row_subset] - sampled.y_mean[:, None].astype(np.float32)
    signal = max(float(np.square(y).sum()), 1e-30)
    residuals = ((y - x @ w.transpose(0, 2, 1).astype(np.float32)).reshape(-1) for w in weights)
    return [float(residual @ residual) / signal for residual in residuals]
