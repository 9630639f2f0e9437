"""How long it may take to choose a cut, by clocks that the tests move."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import Pacer
from onnxslim.pruning.selection.pacing import BudgetPace, pace_timing
from onnxslim.runtime import timing
from onnxslim.runtime.session import SessionConfig


@dataclass
class Clocks:
    """Seconds on the wall, of this thread and of all threads of the process."""

    wall: float = 100.0
    thread: float = 10.0
    process: float = 10.0

    def work(self, wall: float, thread: float, process: float) -> None:
        self.wall, self.thread, self.process = self.wall + wall, self.thread + thread, self.process + process


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(time, "monotonic", lambda: clocks.wall)
    monkeypatch.setitem(Pacer.__init__.__kwdefaults__, "clock", lambda: clocks.wall)
    monkeypatch.setattr(time, "process_time", lambda: clocks.process)
    monkeypatch.setattr(
        timing, "pick_clock", lambda own_thread: (lambda: clocks.thread) if own_thread else (lambda: clocks.wall)
    )
    return clocks


def _count_parts(pacer: Pacer, clocks: Clocks, wall: float, thread: float, process: float) -> int:
    count = 0
    while pacer.fits() and count < 1000:
        clocks.work(wall, thread, process)
        count += 1
    return count


def test_where_nobody_waits_neither_other_processes_nor_many_threads_make_less_of_the_time(clocks: Clocks) -> None:
    alone, beside = (2.0, 2.0, 2.0), (20.0, 2.0, 2.0)
    counts = [_count_parts(pace_timing(RunContext()), clocks, *part) for part in (alone, beside)]
    threads = RunContext(config=SessionConfig(threads=16))
    counts.append(_count_parts(pace_timing(threads), clocks, 2.0, 0.1, 16 * 2.0))
    assert counts[0] == counts[1] == counts[2] > 10


def test_what_another_machine_times_counts_by_the_walls_clock(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "current_device", object)
    assert 10 < _count_parts(pace_timing(RunContext()), clocks, 2.0, 0.0, 0.0) < 1000


def test_a_part_of_the_time_before_a_deadline_is_for_timing(clocks: Clocks) -> None:
    assert 3 <= _count_parts(pace_timing(RunContext(deadline=clocks.wall + 40)), clocks, 2.0, 0.0, 0.0) <= 5


def test_until_something_is_found_all_time_is_for_that_and_from_then_on_some_is_kept(clocks: Clocks) -> None:
    context, searched = RunContext(deadline=clocks.wall + 100), {}
    for is_found in (False, True):
        pace, start = BudgetPace(context), clocks.wall
        while pace.fits(is_found=is_found):
            clocks.wall += 5
        searched[is_found], clocks.wall = clocks.wall - start, start
        assert pace.has_refused
    assert searched[True] <= 40 < 80 < searched[False] <= 100


def test_without_a_deadline_no_clock_ends_the_search_and_readings_that_end_are_no_lack_of_time(clocks: Clocks) -> None:
    pace = BudgetPace(RunContext())
    for _ in range(20):
        clocks.work(50, 50, 50)
        assert pace.fits(is_found=False)
        assert pace.fits(is_found=True)
    assert not pace.may_repeat()
    assert not pace.has_refused
    hurried = BudgetPace(RunContext(deadline=clocks.wall + 10))
    clocks.work(9, 9, 9)
    assert not hurried.may_repeat()
    assert hurried.has_refused
