"""Which cut is kept where a clock reads what it leaves: no reading is believed alone. Readings in, a decision out.

The smallest of several cuts that one reading each found good enough is, as a rule, the one that a reading was kindest to. So
a cut is kept, or passed over, by the interval of all readings of it, and is read again while that holds the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import scipy

T = TypeVar("T")

#: How sure it has to be that a cut is on one side of the limit; several are judged, and most of them more than once.
CONFIDENCE = 0.985
#: Nothing that scatters is kept by fewer readings, and nothing is read more often, alone and together with all others.
MIN_READINGS, MAX_READINGS, MAX_READINGS_IN_ALL = 3, 8, 40
#: How often a cut is corrected because savings do not add up (two sides of one weight shrink together).
MAX_CORRECTIONS = 12
#: Degrees of freedom that the errors count as which readings tell of themselves.
_OWN_FREEDOM = 4
_WHOLE = "whole"


@dataclass(frozen=True)
class Reading:
    """How much of something a model has, as it was read once, and the standard error that the reading itself tells."""

    amount: float
    error: float = 0.0


@dataclass
class Readings:
    """Readings of models, by name.

    Sessions of one model differ by more than the rounds within one tell, and alike for every model, for it is the machine
    that differs. So how far readings scatter is learned from all models together.
    """

    amounts: dict[str, list[float]] = field(default_factory=dict)
    relative_errors: list[float] = field(default_factory=list)

    def add(self, name: str, reading: Reading) -> None:
        """Note another reading of one model."""
        self.amounts.setdefault(name, []).append(reading.amount)
        self.relative_errors.append(reading.error / max(abs(reading.amount), 1e-300))

    def count(self, name: str) -> int:
        """How often a model was read."""
        return len(self.amounts.get(name, ()))

    def may_add(self, name: str) -> bool:
        """Whether another reading of a model may be noted, which may tell something."""
        scatters, total = any(self.relative_errors), sum(map(len, self.amounts.values()))
        return scatters and self.count(name) < MAX_READINGS and total < MAX_READINGS_IN_ALL

    def mean(self, name: str) -> float:
        """What one model has, by all readings of it."""
        return float(np.mean(self.amounts[name]))

    def bounds(self, name: str) -> tuple[float, float]:
        """What one model surely has at least, and at most (each at :data:`CONFIDENCE`)."""
        mean, count = self.mean(name), self.count(name)
        scatter = [np.asarray(values) / np.mean(values) - 1 for values in self.amounts.values() if len(values) > 1]
        freedom = _OWN_FREEDOM + sum(len(values) - 1 for values in scatter)
        own = _OWN_FREEDOM * float(np.mean(np.square(self.relative_errors)))
        variance = (own + sum(float(np.square(values).sum()) for values in scatter)) / freedom
        margin = mean * _get_quantile(freedom) * math.sqrt(variance / count)
        return mean - margin, mean + margin


@lru_cache
def _get_quantile(freedom: int) -> float:
    """Student's, at :data:`CONFIDENCE`."""
    return float(scipy.stats.t.ppf(CONFIDENCE, freedom))


@dataclass(frozen=True)
class KeptCut(Generic[T]):
    """The cut that is kept.

    Attributes:
        cut: It.
        bounds: What it surely leaves at least, and at most.
        is_sure: Whether it was surely within the limit; else none was found that is, and this one is by the mean of its
            readings.
    """

    cut: T
    bounds: tuple[float, float]
    is_sure: bool = True


class _Judge(Generic[T]):
    """Reads cuts as often as it takes.

    Args:
        read: Of a cut what is left with it, in a session of its own.
        limit: How much may be left.
        may_repeat: Whether there is time to read another time what was read before.
    """

    def __init__(self, read: Callable[[T], Reading], limit: float, may_repeat: Callable[[], bool]) -> None:
        self._read, self._limit, self._may_repeat = read, limit, may_repeat
        self.readings = Readings()

    def is_enough(self, name: str, cut: T, at_least: int = 1) -> bool:
        """Whether ``cut`` surely leaves no more than the limit: read until that is known, or no time is left."""
        readings = self.readings
        if not readings.count(name):
            readings.add(name, self._read(cut))
        while True:
            low, high = readings.bounds(name)
            needed = max(at_least, 1 if low > self._limit else MIN_READINGS)
            is_settled = readings.count(name) >= needed and not low <= self._limit < high
            if is_settled or not readings.may_add(name) or not self._may_repeat():
                return high <= self._limit
            readings.add(name, self._read(cut))


def find_least_cut(
    propose: Callable[[float], tuple[str, T] | None],
    read: Callable[[T], Reading],
    limit: float,
    *,
    whole: T,
    tolerance: float,
    fits: Callable[[bool], bool] = lambda is_found: True,
    may_repeat: Callable[[], bool] = lambda: True,
) -> KeptCut[T] | None:
    """The least that is proposed of what surely leaves no more than ``limit``; None where nothing is found to, or in time.

    What is asked for is corrected by what a proposal was found to save: in growing steps until something was enough, by
    bisection from then on.

    Args:
        propose: What is to be saved, as it was estimated -> the name of a cut, and it; None where so much cannot be. What
            is proposed for more does more harm.
        read: Of a cut what is left with it, in a session of its own.
        limit: How much may be left.
        whole: The cut of nothing, which is judged first.
        tolerance: A cut that saves so many times what has to be saved is good enough.
        fits: Whether there is time for another cut, asked before each; it is told whether one was found that may be enough.
        may_repeat: Whether there is time to read another time what was read before.
    """
    judge = _Judge(read, limit, may_repeat)
    readings = judge.readings
    if judge.is_enough(_WHOLE, whole, MIN_READINGS):
        return KeptCut(whole, readings.bounds(_WHOLE))
    initial = readings.mean(_WHOLE)
    required = initial - limit if initial > limit else readings.bounds(_WHOLE)[1] - limit
    asked, too_little, too_much = required, 0.0, math.inf
    sure: tuple[str, T] | None = None
    likely: dict[float, tuple[str, T]] = {}
    for attempt in range(MAX_CORRECTIONS):
        if not fits(bool(sure or likely)):
            break
        proposal = propose(asked)
        is_enough, missing = True, 0.0
        if proposal is not None:
            name, cut = proposal
            is_enough = judge.is_enough(name, cut)
            if is_enough:
                sure = proposal
                if initial - readings.mean(name) <= tolerance * required:
                    break
            elif readings.mean(name) <= limit:
                likely[asked] = proposal
            missing = readings.bounds(name)[1] - limit
        if is_enough:
            too_much = asked
        else:
            too_little = asked
        if sure and too_much - too_little <= (tolerance - 1) * required:
            break
        asked = (too_little + too_much) / 2 if math.isfinite(too_much) else asked + missing * 2**attempt
    kept = sure or (likely[min(likely)] if likely else None)
    return None if kept is None else KeptCut(kept[1], readings.bounds(kept[0]), sure is not None)
