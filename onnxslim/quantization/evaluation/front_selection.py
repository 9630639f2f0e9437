"""Which point of a front is taken: the fastest whose outputs stay within what is allowed, in few built models."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from onnxslim.core.deadline import seconds_left

#: Models that are built and judged at most, the fastest among them.
MAX_BUILDS = 5
#: A point that costs no more than this beside the cheapest that may still be good enough is not worth a better one.
MAX_COST_LEFT = 1.03
#: What the next point is expected to lose of what is allowed.
TARGET_EXCESS = 0.95
#: One step may leave a half of the last point's loss at most, and a thirtieth at least: neither a crawl nor a leap.
_MAX_LOSS_LEFT, _MIN_LOSS_LEFT = 0.5, 0.03


@dataclass(frozen=True)
class FrontSelection:
    """Where the search along a front ended.

    Attributes:
        index: The fastest point that was found to be good enough; None where none was.
        excesses: By point that was tried how many times what is allowed it loses.
        is_in_time: Whether no point was left out for lack of time.
    """

    index: int | None
    excesses: Mapping[int, float] = field(default_factory=dict)
    is_in_time: bool = True


def select_from_front(
    losses: Sequence[float],
    costs: Sequence[float],
    measure: Callable[[int], float],
    known: Mapping[int, float],
    *,
    seconds: float = 0.0,
    deadline: float | None = None,
    max_builds: int = MAX_BUILDS,
) -> FrontSelection:
    """The fastest point of a front that loses no more than is allowed.

    Args:
        losses: Expected losses of the points, from the fastest to the mildest, falling.
        costs: What is wanted small, their times or their bytes, rising.
        measure: Builds a point and says how many times what is allowed it loses.
        known: What that was for points that are built already, the fastest at least.
        seconds: What building the last of those took.
        deadline: On ``time.monotonic``'s clock; nothing is built that would not be done by then, going by the last.
        max_builds: How many points may be built, those of ``known`` among them.
    """
    excesses = dict(known)
    while True:
        failed = max((index for index, excess in excesses.items() if not excess <= 1), default=-1)
        passed = min((index for index, excess in excesses.items() if excess <= 1 and index > failed), default=None)
        upper = len(losses) if passed is None else passed
        is_cheap_enough = passed is not None and costs[passed] <= MAX_COST_LEFT * costs[failed + 1]
        if upper - failed <= 1 or is_cheap_enough or len(excesses) >= max_builds:
            return FrontSelection(passed, excesses)
        if seconds_left(deadline) < seconds:
            return FrontSelection(passed, excesses, is_in_time=False)
        is_last = passed is None and len(excesses) == max_builds - 1
        index = len(losses) - 1 if is_last else _pick_next(losses, excesses, failed, passed)
        start = time.monotonic()
        excesses[index] = measure(index)
        seconds = time.monotonic() - start


def _pick_next(losses: Sequence[float], excesses: Mapping[int, float], failed: int, passed: int | None) -> int:
    """The point between ``failed`` and ``passed`` to try next: the one that is expected to be just good enough."""
    excess = excesses.get(failed, 1.0)
    if passed is None:
        share = min(max(TARGET_EXCESS / max(excess, 1e-30), _MIN_LOSS_LEFT), _MAX_LOSS_LEFT)
        first = bisect.bisect_left(losses, -share * losses[failed], lo=failed + 1, key=lambda loss: -loss)
        return min(first, len(losses) - 1)
    # losses differ by factors, and so does what is judged: a line between their logarithms
    upper, lower = math.log(max(losses[failed], 1e-30)), math.log(max(losses[passed], 1e-30))
    share = 0.5
    if math.isfinite(excess) and excess > 1 and 0 < excesses[passed] < TARGET_EXCESS:
        share = math.log(excess / TARGET_EXCESS) / math.log(excess / excesses[passed])
    target = upper + share * (lower - upper)
    inner = range(failed + 1, passed)
    return next((i for i in inner if math.log(max(losses[i], 1e-30)) <= target), inner[-1])
