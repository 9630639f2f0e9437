"""What paired measurements can prove: intervals, a test, and how many samples it takes. Arrays in, numbers out.

A *drop* is original minus result: positive when the result is worse. Both models answered the same samples, so every
interval here is paired: what the two have in common cancels, and only where they differ is there anything to estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy

#: (lo, hi) of a confidence interval
Interval = tuple[float, float]

#: The coverage of every interval here.
CONFIDENCE = 0.95
#: Numbers drawn at a time by a bootstrap (8 bytes each): the memory it may take, whatever the number of samples.
_MAX_BOOTSTRAP_DRAWS = 4_000_000


def paired_proportion_interval(lost: int, gained: int, n: int) -> Interval:
    """The interval of a drop in accuracy between two models that answered the same ``n`` samples.

    Tango's score interval (Statistics in Medicine 17, 1998): the drops that McNemar's test, generalised to a difference
    other than zero, does not reject. It contains zero exactly when McNemar's test does not reject equality, and unlike
    the Wald interval it keeps its coverage with few samples, few disagreements, or none.

    Args:
        lost: Samples that only the original answered correctly.
        gained: Samples that only the result answered correctly.
        n: All samples.
    """
    z = _z()
    drop = (lost - gained) / n

    def excess(delta: float, side: float) -> float:
        b = (2 * n - lost + gained) * delta - lost - gained
        discriminant = b * b + 8 * n * gained * delta * (1 - delta)
        nuisance = (math.sqrt(max(discriminant, 0.0)) - b) / (4 * n)
        variance = n * max(2 * nuisance + delta * (1 - delta), 0.0)
        return (lost - gained - n * delta) - side * z * math.sqrt(variance)

    # Without disagreements the seen drop is a root as well, but not the end of the interval: step off it.
    below, above = drop - 1e-9, drop + 1e-9
    low = -1.0 if gained == n else float(scipy.optimize.brentq(excess, -1.0, below, args=(1.0,)))
    high = 1.0 if lost == n else float(scipy.optimize.brentq(excess, above, 1.0, args=(-1.0,)))
    return low, high


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided mid-p value of McNemar's exact test that two models are equally often right.

    The mid-p form is less conservative than the exact one and keeps its level in practice (Fagerland, Lydersen and
    Laake, BMC Medical Research Methodology 13, 2013).
    """
    pairs = lost + gained
    fewer = min(lost, gained)
    tail = scipy.stats.binom.cdf(fewer, pairs, 0.5) - 0.5 * scipy.stats.binom.pmf(fewer, pairs, 0.5)
    return float(min(1.0, 2 * tail))


def wilson_interval(hits: int, n: int) -> Interval:
    """Wilson's score interval of one proportion (JASA 22, 1927)."""
    interval = scipy.stats.binomtest(hits, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The expanded percentile bootstrap interval of a statistic of means over samples.

    A row holds everything one sample contributes, of both models, so drawing rows keeps the pairs together. The
    percentiles are widened to what Student's t asks for (Hesterberg, The American Statistician 69, 2015): the plain
    percentile interval is too narrow by sqrt(1 - 1/n) and ignores that the spread is estimated too.

    Args:
        parts: Shape (n, k): what each sample adds to each of k sums.
        statistic: Means of the parts, shape (m, k), to m values; applied to every resample.
        resamples: How many resamples are drawn.
        seed: The same seed and parts give the same interval.
    """
    n = len(parts)
    if n < 2:
        value = float(statistic(parts.mean(axis=0, keepdims=True))[0])
        return value, value
    rng = np.random.default_rng(seed)
    resamples_per_chunk = max(1, _MAX_BOOTSTRAP_DRAWS // (n * parts.shape[1]))
    sizes = [min(resamples_per_chunk, resamples - start) for start in range(0, resamples, resamples_per_chunk)]
    values = np.concatenate([statistic(parts[rng.integers(0, n, (size, n))].mean(axis=1)) for size in sizes])
    return _take_quantiles(values, _expand_tail(n))


def median_interval(values: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """The interval of the median of a series in time, by the circular block bootstrap.

    Neighbouring rounds of a benchmark are alike: a busy neighbour or a slower clock lasts longer than one round.
    Drawing blocks of sqrt(n) consecutive values (Politis and Romano, 1992) keeps that likeness, where drawing single
    values would promise too narrow an interval; and as n values hold only n / block independent ones, the percentiles
    are widened for that number (see :func:`bootstrap_interval`).

    Args:
        values: Shape (n,), in the order of measurement.
        resamples: How many resamples are drawn.
        seed: The same seed and values give the same interval.
    """
    n = len(values)
    if n < 2:
        return float(values[0]), float(values[0])
    block = max(1, round(math.sqrt(n)))
    starts = np.random.default_rng(seed).integers(0, n, (resamples, -(-n // block)))
    index = (starts[:, :, None] + np.arange(block)).reshape(resamples, -1)[:, :n] % n
    return _take_quantiles(np.median(values[index], axis=1), _expand_tail(n / block))


def ratio_interval(base: np.ndarray, other: np.ndarray, *, seed: int = 0) -> Interval:
    """The interval of how many times faster ``other`` is: of the median of per-round ratios, shapes (n,) each."""
    return median_interval(base / other, seed=seed)


def compute_error(interval: Interval) -> float:
    """The standard error that an interval of :data:`CONFIDENCE` stands for."""
    return (interval[1] - interval[0]) / (2 * _z())


def jackknife_interval(values: np.ndarray, full_value: float) -> Interval:
    """The interval of a statistic that can only be computed on a whole set, from leaving out one group at a time.

    Args:
        values: Shape (g,): the statistic without group 0, 1, … g-1; groups of (nearly) equal size (Tukey, 1958).
        full_value: The statistic of the whole set.
    """
    groups = len(values)
    error = math.sqrt((groups - 1) / groups * float(np.square(values - values.mean()).sum()))
    margin = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1)) * error
    return full_value - margin, full_value + margin


def smallest_provable_drop(n: int, disagreements: int) -> float:
    """The smallest drop in accuracy that ``n`` paired samples could have proved.

    That is the smallest drop whose interval would exclude zero, had it been seen with as many disagreements in
    correctness (or, when those are too few to prove anything, with as many more as it takes, all of them losses). A
    smaller one is no evidence of none: these data cannot tell it from zero.
    """
    limit = _z() ** 2
    needed = math.floor(math.sqrt(limit * disagreements)) + 1
    if needed > disagreements:
        needed = max(math.floor(limit) + 1, 1)
    return min(1.0, needed / n)


def count_alike_to_prove(limit: float) -> int:
    """How many samples, if all answer alike, prove that at most a share of ``limit`` answers otherwise: with so many
    :func:`wilson_interval` ends there.
    """
    return math.ceil(_z() ** 2 * (1 - limit) / limit)


def samples_to_decide(drop: float, interval: Interval, n: int, limit: float) -> int | None:
    """About how many samples in all would put the interval on one side of ``limit``, if what was seen goes on.

    An interval narrows with the square root of the number of samples, so the one at hand tells: no second formula, and
    the same one for every metric.

    Returns:
        ``n`` when these samples decide already; None when the drop sits on the limit, where no number would decide.
    """
    if not interval[0] <= limit <= interval[1]:
        return n
    if drop == limit:
        return None
    end = interval[1] if drop < limit else interval[0]
    return math.ceil(n * ((end - drop) / (limit - drop)) ** 2)


def add_standard_error(drop: float, interval: Interval | None, at_most: float = math.inf) -> float:
    """``drop`` with one standard error on top, as its 95 % interval tells it: what is chosen by.

    Of several results the luckiest looks best, and a choice by the drops seen takes that one.

    Args:
        drop: As seen.
        interval: Of the drop; None adds nothing.
        at_most: The most that is added.
    """
    if interval is None or not math.isfinite(drop) or math.isnan(interval[1]):
        return drop
    return drop + min(max(0.0, interval[1] - drop) / _z(), at_most)


def samples_to_choose(drop: float, interval: Interval | None, n: int, limit: float) -> int | None:
    """About how many samples it takes for ``drop`` to pass with one standard error on top (:func:`add_standard_error`), if
    what was seen goes on; None where the drop alone is above ``limit``, or on it, or has no interval.
    """
    error = add_standard_error(drop, interval) - drop
    if not drop < limit or not math.isfinite(error) or interval is None:
        return None
    return math.ceil(n * (error / (limit - drop)) ** 2)


def estimate_answer_error(losses: np.ndarray) -> float:
    """The standard error of a mean loss of answers that few samples change, or none.

    What was seen of none changed among n is no proof that none would: by the rule of succession one more sample than was
    seen counts as changed. It loses what those seen lost on average, with a half, the mean of all that an answer can lose,
    counted in as one of them.

    Args:
        losses: Shape (n,): by sample what its answer lost, from -1 to 1; 0 where it did not change.
    """
    changed = np.abs(losses[losses != 0])
    extended = np.append(losses, (changed.sum() + 0.5) / (len(changed) + 1))
    return float(extended.std() / math.sqrt(len(extended)))


def widen_interval(interval: Interval, drop: float, error: float) -> Interval:
    """``interval`` of ``drop`` with its bad end at least so many standard errors off as one of normal ``error`` has it."""
    return interval[0], max(interval[1], drop + _z() * error)


def least_proven_drop(drop: float, interval: Interval | None) -> float:
    """The least drop, 0 or more, that a ``drop`` that was seen leaves possible: the lower end of its 95 % interval."""
    if interval is None or not math.isfinite(drop) or math.isnan(interval[0]):
        return drop
    return max(0.0, min(drop, interval[0]))


def _z() -> float:
    return float(scipy.special.ndtri((1 + CONFIDENCE) / 2))


def _expand_tail(n: float) -> float:
    """The tail below which a bootstrap of ``n`` independent values is cut, by Student's t instead of the normal."""
    quantile = scipy.stats.t.ppf((1 - CONFIDENCE) / 2, n - 1)
    return float(scipy.special.ndtr(math.sqrt(n / (n - 1)) * quantile))


def _take_quantiles(values: np.ndarray, tail: float) -> Interval:
    # "nearest": resampled values may hold infinities (a zero norm), and interpolating between two gives NaN.
    low, high = np.quantile(values, [tail, 1 - tail], method="nearest")
    return float(low), float(high)
