"""From statistics of an activation to the range that quantisation should cover; arrays in, numbers out.

All methods read one histogram, so choosing another one never runs the model again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnxslim.core.errors import UsageError

NUM_BINS = 2048
#: Candidate ends of a range, as a share of the full one: dense near 1, where the best end nearly always lies.
_RANGE_SHARES = np.unique(np.concatenate([np.linspace(0.02, 0.5, 17), np.linspace(0.5, 1.0, 51)]))


@dataclass(frozen=True)
class Histogram:
    """What calibration keeps of one tensor.

    Attributes:
        low: Exact minimum over all samples.
        high: Exact maximum.
        counts: int64 (BINS,), equal bins over [low, high].
        mean_low: Mean over the batches of the batch's minimum.
        mean_high: The same of the maximum.
        responses: float64 (BINS,): what everything that reads the tensor makes of the middle of each bin, where that is a
            function of each value alone; None where a value is read as it is.
    """

    low: float
    high: float
    counts: np.ndarray
    mean_low: float
    mean_high: float
    responses: np.ndarray | None = None

    @property
    def bin_centers(self) -> np.ndarray:
        """float64 (BINS,): the middle of each bin."""
        return self.low + (np.arange(NUM_BINS) + 0.5) * (self.high - self.low) / NUM_BINS


#: histogram → the range (low, high) to cover
RangeMethod = Callable[[Histogram], tuple[float, float]]


def minmax(h: Histogram) -> tuple[float, float]:
    """The full range that was seen."""
    return h.low, h.high


def mean_minmax(h: Histogram) -> tuple[float, float]:
    """The mean of the batches' extremes: one odd sample moves it little."""
    return h.mean_low, h.mean_high


def percentile(h: Histogram, share: float = 99.999) -> tuple[float, float]:
    """The range that holds ``share`` per cent of the values (99.999), the rest split between both tails."""
    total = h.counts.sum()
    if not total or h.high <= h.low:
        return h.low, h.high
    cumulative = np.cumsum(h.counts) / total
    tail = (1.0 - share / 100.0) / 2.0
    edges = np.linspace(h.low, h.high, NUM_BINS + 1)
    first = int(np.searchsorted(cumulative, tail, side="right"))
    last = int(np.searchsorted(cumulative, 1.0 - tail, side="left"))
    return float(edges[min(first, NUM_BINS - 1)]), float(edges[min(last + 1, NUM_BINS)])


def mse(h: Histogram, levels: int = 255, saturation: float = 1.0) -> tuple[float, float]:
    """The range with the least mean squared error: rounding inside it against saturation outside.

    Args:
        h: The tensor.
        levels: Steps of the quantiser.
        saturation: What a squared error by saturation counts, against one by rounding. Which is worse for the model's
            outputs differs between networks; ``auto`` measures it.
    """
    lows = np.unique(_RANGE_SHARES * h.low) if h.low < 0 else np.array([0.0])
    highs = np.unique(_RANGE_SHARES * h.high) if h.high > 0 else np.array([0.0])
    low, high = (grid.reshape(-1) for grid in np.meshgrid(lows, highs, indexing="ij"))
    errors = _compute_errors(h, low, high, levels, saturation)
    best = int(np.argmin(errors))
    if errors[best] == 0:  # all that was seen lies where the readers stand still
        return h.low, h.high
    return float(low[best]), float(high[best])


def expected_error(h: Histogram, low: float, high: float, levels: int = 255) -> float:
    """Mean squared error of quantising ``h`` to ``levels`` steps over [low, high] (zero included)."""
    return float(_compute_errors(h, np.array([min(low, 0.0)]), np.array([max(high, 0.0)]), levels)[0])


def entropy(h: Histogram, levels: int = 255) -> tuple[float, float]:
    """The symmetric-about-its-tails cut with the least KL divergence (Migacz, 8-bit inference with TensorRT, 2017)."""
    if h.high <= h.low:
        return h.low, h.high
    best, best_range = np.inf, (h.low, h.high)
    # an exact zero costs nothing at any scale, and behind a Relu it would drown everything else
    reference = np.where(_find_zero_bins(h), 0.0, h.counts)
    for share in np.linspace(0.1, 1.0, 64):
        low, high = (share * h.low if h.low < 0 else h.low), share * h.high if h.high > 0 else h.high
        divergence = _kl_divergence(reference, h, low, high, levels)
        if divergence < best:
            best, best_range = divergence, (float(low), float(high))
    return best_range


def _kl_divergence(reference: np.ndarray, h: Histogram, low: float, high: float, levels: int) -> float:
    inside = (h.bin_centers >= low) & (h.bin_centers <= high)
    if inside.sum() < levels:
        return float(np.inf)
    p = reference[inside].copy()
    first, last = int(np.argmax(inside)), int(len(inside) - np.argmax(inside[::-1]))
    p[0] += reference[:first].sum()
    p[-1] += reference[last:].sum()
    raw = reference[inside]
    group = (np.arange(len(raw)) * levels) // len(raw)
    filled = raw > 0
    sums = np.bincount(group, raw, minlength=levels)
    members = np.bincount(group, filled, minlength=levels)
    q = np.where(filled, (sums / np.maximum(members, 1))[group], 0.0)
    p, q = p / p.sum(), q / max(q.sum(), 1e-300)
    nonzero = p > 0
    return float(np.sum(p[nonzero] * np.log(p[nonzero] / np.maximum(q[nonzero], 1e-12))))


def _find_zero_bins(h: Histogram) -> np.ndarray:
    """bool (BINS,): the bins at zero, whose values are mostly exact zeros."""
    return np.abs(h.bin_centers) <= (h.high - h.low) / NUM_BINS if h.low <= 0 <= h.high else np.zeros(NUM_BINS, bool)


def _compute_errors(h: Histogram, low: np.ndarray, high: np.ndarray, levels: int, saturation: float = 1.0) -> np.ndarray:
    """Σ counts · error² / Σ counts for each candidate; in-range values err by step²/12, exact zeros by nothing.

    Where the tensor is read through a function, the error is of what that gives: rounding counts by the square of its slope,
    and outside of bounds beyond which it stands still nothing is lost.
    """
    centers, counts = h.bin_centers, h.counts.astype(np.float64)
    total = max(counts.sum(), 1.0)
    step = (high - low) / levels
    rounding, values = np.where(_find_zero_bins(h), 0.0, counts), centers
    if h.responses is not None and h.high > h.low:
        values = h.responses
        rounding = rounding * np.gradient(values, centers) ** 2
    inside = np.concatenate([[0.0], np.cumsum(rounding)])
    moments = [np.concatenate([[0.0], np.cumsum(counts * values**k)]) for k in range(3)]
    first = np.searchsorted(centers, low, side="left")
    last = np.searchsorted(centers, high, side="right")

    def saturation_error(bound: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        bound = bound if values is centers else np.interp(bound, centers, values)
        m0, m1, m2 = (moment[end] - moment[start] for moment in moments)
        return np.asarray(np.maximum(m2 - 2 * bound * m1 + bound**2 * m0, 0.0))

    below = saturation_error(low, np.zeros_like(first), first)
    above = saturation_error(high, last, np.full_like(last, NUM_BINS))
    return np.asarray(((inside[last] - inside[first]) * step**2 / 12 + saturation * (below + above)) / total)


#: What ``best_per_tensor`` chooses from; entropy minimises something else, and takes more time than all of these.
_PER_TENSOR_METHODS = ("minmax", "averaged", "percentile", "mse")


def choose_method(h: Histogram) -> tuple[str, tuple[float, float]]:
    """The method whose range has the least expected error for this tensor, and the range; the simplest on a tie."""
    bounds = {name: RANGE_METHODS[name](h) for name in _PER_TENSOR_METHODS}
    name = min(_PER_TENSOR_METHODS, key=lambda name: expected_error(h, *bounds[name]))
    return name, bounds[name]


def best_per_tensor(h: Histogram) -> tuple[float, float]:
    """For each tensor the range of the method with the least expected error there."""
    return choose_method(h)[1]


#: By the name on the command line.
RANGE_METHODS: dict[str, RangeMethod] = {
    "minmax": minmax,
    "averaged": mean_minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
    "least": best_per_tensor,
}
#: What ``--calibration`` takes, as its help says it.
METHOD_SPELLINGS = ("auto", *(f"{name}[:99.999]" if name == "percentile" else name for name in RANGE_METHODS))
#: What ``auto`` tries, by the error of the model's outputs: for each tensor the method with the least error, mse with
#: saturation weighing more or less, and everything.
AUTO_METHODS: dict[str, RangeMethod] = {
    "least": best_per_tensor,
    "mse:0.3": partial(mse, saturation=0.3),
    "mse:0.1": partial(mse, saturation=0.1),
    "mse:3": partial(mse, saturation=3.0),
    "averaged": mean_minmax,
    "minmax": minmax,
}


def parse_methods(text: str) -> dict[str, RangeMethod]:
    """What ``--calibration`` names: one method, or for ``auto`` the :data:`AUTO_METHODS` to choose from.

    Raises:
        UsageError: An unknown spelling.
    """
    return dict(AUTO_METHODS) if text == "auto" else {text: parse_method(text)}


def parse_method(text: str) -> RangeMethod:
    """A key of :data:`RANGE_METHODS`, ``percentile:99.99`` or ``mse:0.3`` → the function.

    The number behind ``mse`` is what a squared error by saturation counts, against one by rounding.

    Raises:
        UsageError: Anything else.
    """
    if match := re.fullmatch(r"percentile:(\d+(?:\.\d+)?)", text):
        share = float(match[1])
        if 50.0 < share <= 100.0:
            return lambda h: percentile(h, share)
    elif match := re.fullmatch(r"mse:(\d+(?:\.\d+)?)", text):
        return partial(mse, saturation=float(match[1]))
    elif text in RANGE_METHODS:
        return RANGE_METHODS[text]
    raise UsageError(
        f"--calibration {text}: unknown",
        hint=f"one of auto, {', '.join(RANGE_METHODS)}, or percentile:99.99 (above 50, up to 100), mse:0.3",
    )
