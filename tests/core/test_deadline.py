"""Parts of a work that fit before a deadline, on a clock of the test's own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.deadline import Pacer, seconds_left, stop_after
from onnxslim.core.errors import TimeLimitError
from onnxslim.core.progress import ignore_progress


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


def test_several_parts_fit_by_what_one_took_on_average():
    clock = FakeClock()
    pacer = Pacer(clock.now + 10, clock=clock)
    for seconds in (1.0, 3.0):
        assert pacer.fits()
        clock.now += seconds
    assert pacer.fits()
    assert pacer.fits_all(2)
    assert not pacer.fits_all(3)
    assert Pacer(None).fits_all(10**9)


def test_a_part_that_has_to_fit_and_does_not_ends_the_step_and_not_the_process():
    clock = FakeClock()
    with pytest.raises(TimeLimitError, match="repair: no time left") as raised:
        Pacer(clock.now - 1, clock=clock).require("repair")
    assert raised.value.exit_code == 6


def test_what_looks_at_no_clock_is_stopped_some_time_after_its_deadline(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("time.monotonic", clock)
    seen = []
    report = stop_after(clock.now + 100, lambda *call: seen.append(call), "quantize")
    report("statistics", 1, 9)
    clock.now += 105
    report("statistics", 2, 9)
    clock.now += 10
    with pytest.raises(TimeLimitError, match="quantize"):
        report("statistics", 3, 9)
    assert seen == [("statistics", 1, 9), ("statistics", 2, 9)]
    assert stop_after(None, ignore_progress, "quantize") is ignore_progress


def test_a_pacer_remembers_that_something_did_not_fit():
    clock = FakeClock()
    pacer = Pacer(clock.now + 4, clock=clock)
    assert pacer.fits()
    assert not pacer.has_refused
    clock.now += 3
    assert not pacer.fits()
    assert pacer.has_refused
    assert not Pacer(None).has_refused
