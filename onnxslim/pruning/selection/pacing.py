"""How long it may take to choose a cut: what is timed where nobody waits, and the way to a budget before a deadline."""

from __future__ import annotations

import time

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import Pacer, seconds_left
from onnxslim.runtime.timing import pick_timing_clock

#: What is timed to choose by takes so many seconds at most, and this share of the time that is left.
_MAX_SECONDS, _MAX_TIME_SHARE = 60.0, 0.25
#: A budget is met within this share of the time that is left; the rest is for the repair.
_MEETING_SHARE = 0.4


def pace_timing(context: RunContext) -> Pacer:
    """What tells whether more may be timed.

    It bounds what timing would take on a machine that does nothing else. Where nobody waits it therefore reads the clock
    that models are timed by: what other processes take does not count, and several threads count once, not each.
    """
    if context.deadline is None:
        clock = pick_timing_clock(context.config)
        return Pacer(clock() + _MAX_SECONDS, clock=clock)
    return Pacer(time.monotonic() + min(_MAX_SECONDS, _MAX_TIME_SHARE * max(seconds_left(context.deadline), 0.0)))


class BudgetPace:
    """Tells on the way to a budget whether there is time for more.

    Attributes:
        has_refused: Whether a cut was not looked for, or a clock not read again, because of the deadline.
        is_cut_short: Whether a cut was not looked for because of it.

    Args:
        context: Whose deadline it is, and how it is timed.
    """

    def __init__(self, context: RunContext) -> None:
        self._until_found, self._once_found = context.pace(), context.pace(share=_MEETING_SHARE)
        self._repeats, self._has_deadline = pace_timing(context), context.deadline is not None
        self.has_refused = self.is_cut_short = False

    def fits(self, *, is_found: bool) -> bool:
        """Whether another cut fits; asked before each. While none was found that may do, the repair's time is taken too."""
        until_found, once_found = self._until_found.fits(), self._once_found.fits()  # each learns how long a cut takes
        has_room = once_found if is_found else until_found
        self.is_cut_short |= not has_room
        self.has_refused |= not has_room
        return has_room

    def may_repeat(self) -> bool:
        """Whether there is time to read another time what was read before."""
        has_room = self._repeats.fits()
        self.has_refused |= self._has_deadline and not has_room
        return has_room
