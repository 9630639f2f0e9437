"""Weights and biases that make up for quantisation: error feedback and means; arrays in, arrays out.

Everything is batched over groups, so one code serves a dense layer (one group) and a depthwise one (a group a channel).
Shapes: inputs ``x`` (g, r, d), targets ``y`` (g, r, o), weights ``w`` (g, o, d), where r counts sampled positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Damping of the Hessian before it is inverted, as a share of its mean diagonal (Frantar et al., GPTQ, 2022).
DAMPING = 0.01
#: Scales that outputs with few inputs may have, as multiples of the least.
STRETCHES = np.linspace(1.0, 1.25, 26)
#: Rows that errors are taken over.
ERRORS = 256
#: Blocks of rows whose means the median is taken of.
BLOCKS = 16
#: Columns whose feedback is applied to the rest of the matrix in one product.
BLOCK = 64
#: Outputs whose biases are found at a time.
COLUMNS = 64


@dataclass(frozen=True)
class Rows:
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


def rows(x: np.ndarray, y: np.ndarray) -> Rows:
    """``x`` (g, r, d) and ``y`` (g, r, o) as :class:`Rows`."""
    x, y = x.astype(np.float32, copy=False), y.astype(np.float32, copy=False)
    return Rows(x, y, _means(x), _means(y))


def _means(some: np.ndarray) -> np.ndarray:
    """Means over the rows, float64 (g, …)."""
    if len(some) == 1:
        return np.asarray(some.mean(axis=1, dtype=np.float64))
    # of many small groups products with ones are ten times faster
    share = np.full((1, some.shape[1]), 1.0 / some.shape[1], np.float32)
    return np.asarray((share @ some)[:, 0], np.float64)


def gram(found: Rows) -> np.ndarray:
    """XᵀX / r of the centred inputs, float64 (g, d, d)."""
    # the product in single precision: its rounding is far below what sampling rows leaves open
    centred = found.x - found.x_mean[:, None].astype(np.float32)
    return np.asarray((centred.transpose(0, 2, 1) @ centred).astype(np.float64) / found.x.shape[1])


def round_codes(w: np.ndarray, gram: np.ndarray, scales: np.ndarray, top: int) -> np.ndarray:
    """Codes that round ``w`` with the least output error instead of the least weight error.

    GPTQ (Frantar et al., 2022): columns are rounded in order of decreasing input energy, and what each rounding lost is
    made up by the columns still to come, through the inverse Hessian's Cholesky factor.

    Args:
        w: (g, o, d).
        gram: (g, d, d), the Hessian of the squared output error.
        scales: (g, o).
        top: Codes lie in [−top, top].

    Returns:
        int8 (g, o, d).
    """
    order = np.argsort(-np.einsum("gdd->d", gram), kind="stable")
    factor = feedback(gram[:, order][:, :, order], DAMPING)
    codes = fed_back(w[:, :, order], factor, (-top, top), BLOCK, lambda start, block: scales)
    return codes[:, :, np.argsort(order, kind="stable")].astype(np.int8)


def fed_back(
    w: np.ndarray,
    factor: np.ndarray,
    bounds: tuple[int, int],
    width: int,
    scales: Callable[[int, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Codes of ``w``, column by column in the order given; what each rounding loses goes on to the columns behind it.

    Args:
        w: (g, o, d).
        factor: Of :func:`feedback`, (g, d, d).
        bounds: The least and the greatest code.
        width: Columns whose feedback is applied to all behind them in one product.
        scales: The scales (g, o) of the columns that begin at a position, from what those hold by then, float64
            (g, o, up to ``width``).

    Returns:
        float64 (g, o, d), whole numbers.
    """
    left, codes = w.astype(np.float64), np.empty(w.shape)
    for start in range(0, w.shape[2], width):
        stop = min(start + width, w.shape[2])
        block = left[:, :, start:stop]
        lost, steps = np.empty_like(block), scales(start, block)
        for column in range(stop - start):
            row = factor[:, start + column, start:stop]
            code = np.clip(np.rint(block[:, :, column] / steps), *bounds)
            codes[:, :, start + column] = code
            lost[:, :, column] = (block[:, :, column] - code * steps) / row[:, column, None]
            block[:, :, column:] -= lost[:, :, column, None] * row[:, None, column:]
        left[:, :, stop:] -= lost @ factor[:, start:stop, stop:]
    return codes


def few_codes(w: np.ndarray, gram: np.ndarray, scales: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of outputs that have few inputs, as depthwise ones have.

    The errors of few roundings do not average out: between one scale and the next the output's error varies by ten times
    and more. Of scales a little larger than the least one, each output gets the best.

    Args:
        w: (g, o, d).
        gram: (g, d, d).
        scales: float32 (g, o), the least that hold the weights.
        top: Codes lie in [−top, top].

    Returns:
        int8 (g, o, d) and float32 (g, o).
    """
    best, codes, chosen = np.full(scales.shape, np.inf), np.zeros(w.shape, np.int8), scales.copy()
    for stretch in STRETCHES:
        tried = (scales * stretch).astype(np.float32)
        found = round_codes(w, gram, tried.astype(np.float64), top)
        gap = w - found * tried[:, :, None].astype(np.float64)
        error = np.einsum("god,gde,goe->go", gap, gram, gap, optimize=True)
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, tried, chosen)
        codes = np.where(better[:, :, None], found, codes)
    return codes, chosen


def feedback(gram: np.ndarray, damping: float) -> np.ndarray:
    """Upper triangular factors of the damped inverses of ``gram`` (g, d, d): how a column's error goes on to later ones."""
    mean = np.trace(gram, axis1=1, axis2=2)[:, None, None] / gram.shape[-1]
    damped = gram + np.where(mean > 0, damping * mean, 1.0) * np.eye(gram.shape[-1])
    found: np.ndarray = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return found


def bias(
    found: Rows, w: np.ndarray, start: np.ndarray, clip: tuple[float, float] = (-np.inf, np.inf)
) -> np.ndarray:
    """The bias that makes the typical output right behind the activation: float64 (g, o).

    Outputs are compared after clipping to ``clip``: what a Relu cuts off or a range saturates may err as it likes, and
    letting it count would shift the values that are used. Their difference is averaged by the median of block means
    (Lugosi and Mendelson, Mean estimation under heavy tails, 2019): one sample whose values saturate moves a plain mean
    far from what all the others need. Newton's iteration; the share of values inside the clip is the slope.

    Args:
        found: Sampled rows, sample by sample.
        w: (g, o, d), the weights as they will be computed with.
        start: (g, o), the layer's own bias; a channel that hardly ever survives says little and keeps it.
        clip: The range of values that survive behind the layer.
    """
    groups, outputs, _ = w.shape
    result = np.empty((groups, outputs))
    # a few outputs at a time, whatever group they are of: what is iterated over then stays in the cache
    width = max(1, COLUMNS // outputs)
    for first in range(0, groups, width):
        for begin in range(0, outputs, COLUMNS):
            some = np.s_[first : first + width, begin : begin + COLUMNS]
            x, y = found.x[some[0]], found.y[some[0], :, some[1]]
            result[some] = _bias(x, y, w[some].astype(np.float32), start[some], clip)
    return result


def _bias(x: np.ndarray, y: np.ndarray, w: np.ndarray, start: np.ndarray, clip: tuple[float, float]) -> np.ndarray:
    low, high = clip
    ours = (x @ w.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(x.shape[1], -1)
    wanted = np.clip(y, low, high).transpose(1, 0, 2).reshape(ours.shape)
    starts = np.arange(0, len(ours), -(-len(ours) // BLOCKS))
    sizes = np.diff([*starts, len(ours)])[:, None]
    # a hundredth of the outputs' spread is far below what their quantisation leaves of a bias
    enough = 0.01 * wanted.std(axis=0)
    result, moving = start.astype(np.float64).reshape(-1), np.arange(ours.shape[1])
    for _ in range(10):
        outputs = ours + result[moving].astype(np.float32)
        inside = np.clip(outputs, low, high)
        slope = np.count_nonzero(inside == outputs, axis=0) / len(ours)
        gaps = np.add.reduceat(wanted - inside, starts, axis=0) / sizes
        step = np.where(slope > 0.02, np.median(gaps, axis=0) / np.maximum(slope, 0.1), 0.0)
        result[moving] += step
        on = np.abs(step) > enough[moving]
        if not on.any():
            break
        ours, wanted, moving = ours[:, on], wanted[:, on], moving[on]
    return result.reshape(start.shape)


def output_errors(found: Rows, *weights: np.ndarray) -> list[float]:
    """Relative squared error of the mean-corrected layer with each of ``weights``, over :data:`ERRORS` of the rows."""
    some = slice(None, None, max(1, found.x.shape[1] // ERRORS))
    x = found.x[:, some] - found.x_mean[:, None].astype(np.float32)
    y = found.y[:, some] - found.y_mean[:, None].astype(np.float32)
    signal = max(float(np.square(y).sum()), 1e-30)
    lost = ((y - x @ w.transpose(0, 2, 1).astype(np.float32)).reshape(-1) for w in weights)
    return [float(one @ one) / signal for one in lost]
