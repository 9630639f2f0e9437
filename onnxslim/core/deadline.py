"""How long a step may still go on: a moment on ``time.monotonic``'s clock, and whether another part of the work fits before.

A step looks before each part, going by the parts that it did, and ends with what it has. Without a deadline everything
fits, and no clock is read that could decide anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from onnxslim.core.errors import TimeLimitError
from onnxslim.core.progress import Progress

#: The reason that is given of what was left out.
NO_TIME_LEFT = "no time left"
#: How far beyond its deadline a step may go before it is stopped, as a share of its time and in seconds.
_GRACE_SHARE, _GRACE_SECONDS = 0.1, 1.0


def seconds_left(deadline: float | None) -> float:
    """Seconds until ``deadline``, below 0 after it; infinite without one."""
    return math.inf if deadline is None else deadline - time.monotonic()


class Pacer:
    """Tells before each part of a work whether it fits, going by how long the longest one before it took.

    Args:
        deadline: On ``clock``; None: everything fits.
        reserve: Seconds before it that are for something else.
        clock: Seconds that only grow.
    """

    def __init__(self, deadline: float | None, *, reserve: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline = None if deadline is None else deadline - reserve
        self._clock = clock
        self._started: float | None = None
        self._longest, self._total, self._count = 0.0, 0.0, 0
        #: Whether it ever said that something does not fit: what was left out then is the clock's decision.
        self.has_refused = False

    def fits(self) -> bool:
        """Whether another part fits; called before each, it ends the one before. The first fits while any time is left."""
        if self._deadline is None:
            return True
        now = self._clock()
        if self._started is not None:
            self._longest = max(self._longest, now - self._started)
            self._total, self._count = self._total + now - self._started, self._count + 1
        self._started = now
        has_room = now + self._longest < self._deadline
        self.has_refused |= not has_room
        return has_room

    def fits_all(self, count: int) -> bool:
        """Whether so many parts would fit, going by what one took on average, from the last that began on."""
        if self._deadline is None:
            return True
        return self._clock() + count * self._total / max(self._count, 1) < self._deadline

    def require(self, what: str) -> None:
        """Go on to another part, which has to fit.

        Raises:
            TimeLimitError: It does not.
        """
        if not self.fits():
            raise TimeLimitError(f"{what}: {NO_TIME_LEFT}", hint="give a longer --budget")


def stop_after(deadline: float | None, progress: Progress, what: str) -> Progress:
    """``progress``, which ends what reports to it long after ``deadline``: what does not look at the time itself.

    What it raises where that is not done within some more time is a :class:`TimeLimitError` that names ``what``.
    """
    if deadline is None:
        return progress
    last = deadline + _GRACE_SHARE * max(seconds_left(deadline), 0.0) + _GRACE_SECONDS

    def report(stage: str, done: int, total: int) -> None:
        if seconds_left(last) < 0:
            raise TimeLimitError(f"{what}: {NO_TIME_LEFT}", hint="give a longer --budget")
        progress(stage, done, total)

    return report
