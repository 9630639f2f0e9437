"""How long a step may still go on: a moment on ``time.monotonic``'s clock, and whether another part of the work fits before.

A step looks before each part, going by the parts that it did, and ends with what it has. Without a deadline everything
fits, and no clock is read that could decide anything.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

#: The reason that is given of what was left out.
NO_TIME_LEFT = "no time left"


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
        self._longest = 0.0

    def fits(self) -> bool:
        """Whether another part fits; called before each, it ends the one before. The first fits while any time is left."""
        if self._deadline is None:
            return True
        now = self._clock()
        if self._started is not None:
            self._longest = max(self._longest, now - self._started)
        self._started = now
        return now + self._longest < self._deadline
