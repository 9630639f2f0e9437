"""Parts of a work that fit before a deadline, on a clock of the test's own."""

import math

from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.deadline import Pacer, seconds_left


class FakeClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_without_a_deadline_everything_fits_and_there_is_no_end_of_seconds():
    def no_clock():
        raise AssertionError("a clock was read that could decide nothing")

    pacer = Pacer(None, clock=no_clock)
    assert all(pacer.fits() for _ in range(5))
    assert seconds_left(None) == math.inf


def test_seconds_are_counted_to_the_deadline_and_below_zero_after_it(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    assert seconds_left(103.0) == 3.0
    assert seconds_left(98.0) == -2.0


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30), st.floats(0, 60))
def test_no_part_begins_that_the_longest_before_it_would_carry_over_the_deadline(durations, seconds):
    clock = FakeClock()
    deadline, longest = clock.now + seconds, 0.0
    pacer = Pacer(deadline, clock=clock)
    for duration in durations:
        expected = clock.now + longest < deadline
        assert pacer.fits() == expected
        if not expected:
            break
        before = clock.now
        clock.now += duration
        longest = max(longest, clock.now - before)


def test_what_is_reserved_counts_as_gone():
    clock = FakeClock()
    assert Pacer(clock.now + 10, reserve=9, clock=clock).fits()
    assert not Pacer(clock.now + 10, reserve=10, clock=clock).fits()
