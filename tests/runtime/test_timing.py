"""Interleaved rounds."""

from __future__ import annotations

import itertools
import time

import onnx_ir as ir
import pytest

from onnxslim.runtime.devices import choose
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.timing import interleave
from tests.support.digits import FEED


def test_interleaved_sessions_of_one_model_are_equally_fast(digits: ir.Model) -> None:
    timing = interleave({"a": Session(digits), "b": Session(digits)}, [FEED], rounds=20, seconds=3)
    assert len(timing.rounds["a"]) == len(timing.rounds["b"]) >= 5
    assert (timing.provider, timing.threads) == ("cpu", 1)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor's clock that goes on by 1 ms a reading, and a wall's that goes on by a second."""
    for name, tick in (("thread_time", 1e-3), ("perf_counter", 1.0)):
        monkeypatch.setattr(time, name, itertools.count(0.0, tick).__next__)
    monkeypatch.setattr(choose, "_TURN_SECONDS", 0.02)


def test_one_thread_on_the_cpu_is_timed_by_its_own_clock(digits: ir.Model, clocks: None) -> None:
    timing = interleave({"a": Session(digits)}, [FEED], rounds=5)
    assert timing.is_processor_time
    assert timing.median("a") == pytest.approx(1e-3 / 20)


@pytest.mark.parametrize(("threads", "wall"), [(2, False), (1, True)])
def test_what_that_clock_does_not_see_whole_is_timed_by_the_walls(
    digits: ir.Model, clocks: None, threads: int, wall: bool
) -> None:
    timing = interleave({"a": Session(digits, SessionConfig(threads=threads))}, [FEED], rounds=5, wall=wall)
    assert not timing.is_processor_time
    assert timing.median("a") == pytest.approx(1.0)
