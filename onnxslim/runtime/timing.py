"""Latency as a ratio: sessions timed in turn, so that a machine whose speed drifts drifts for all of them alike.

What other processes take is no time of a model's: where one thread on the CPU does all the work, its processor time is read
instead of the wall's. Alone on a machine both are the same; beside others the wall has shown one model five times slower
than itself.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.runtime.devices.choose import pick_clock, time_in_turn
from onnxslim.runtime.devices.device import TimedSession, current_device
from onnxslim.runtime.session_config import SessionConfig


@dataclass(frozen=True)
class Timing:
    """Interleaved rounds of several sessions.

    Attributes:
        rounds: Seconds of one inference, by session name; element i of every array was measured in the same round.
        provider: The execution provider that ran, in the command line's spelling.
        threads: Intra-op threads.
        is_processor_time: Whether the seconds are the thread's on the processor; otherwise they are the wall's.
    """

    rounds: dict[str, np.ndarray]
    provider: str
    threads: int
    is_processor_time: bool = False

    def median(self, name: str) -> float:
        """The median seconds of one session."""
        return float(np.median(self.rounds[name]))

    def ratio(self, base: str, other: str) -> float:
        """How many times faster ``other`` is than ``base``: the median of the per-round ratios."""
        return float(np.median(self.rounds[base] / self.rounds[other]))


def interleave(
    sessions: Mapping[str, TimedSession],
    feeds: Sequence[Mapping[str, np.ndarray]],
    *,
    rounds: int = 50,
    seconds: float = 10.0,
    warmup: int = 3,
    progress: Progress = ignore_progress,
    wall: bool = False,
) -> Timing:
    """Time the sessions in turn, A B C A B C …, every session on the same input within a round.

    A round measures each session over enough inferences (up to 20 ms worth) for the clock to resolve; its order rotates
    from round to round, so that nobody always runs on the caches that the same neighbour left.

    Args:
        sessions: What to time, from :func:`~onnxslim.runtime.session.open_timed_session`; all on one provider, or their
            ratio means nothing.
        feeds: At least one input; round i uses feed i modulo their number.
        rounds: At most so many rounds, and at least 5.
        seconds: Stop when this much time has passed.
        warmup: Untimed inferences of each session first.
        progress: Called after each round.
        wall: Read the wall's clock, waits for other processes included, even where the thread has one of its own.
    """
    if (device := current_device()) is not None:
        limits = {"rounds": rounds, "seconds": seconds, "warmup": warmup, "wall": wall}
        return device.interleave(sessions, feeds, progress, **limits)
    return _interleave_here(sessions, feeds, wall, progress, rounds=rounds, seconds=seconds, warmup=warmup)


def _interleave_here(
    sessions: Mapping[str, TimedSession],
    feeds: Sequence[Mapping[str, np.ndarray]],
    wall: bool,
    progress: Progress,
    **limits: Any,
) -> Timing:
    configs = [session.config for session in sessions.values()]
    clock = pick_clock(own_thread=not wall and all(map(_runs_on_this_thread, configs)))
    times = time_in_turn(
        {name: session.run for name, session in sessions.items()}, feeds, clock,
        progress=lambda done, total: progress("timing", done, total), **limits,
    )  # fmt: skip
    arrays = {name: np.asarray(values) for name, values in times.items()}
    return Timing(arrays, configs[0].provider, configs[0].threads, clock is time.thread_time)


def count_inferences(
    session: TimedSession, feeds: Sequence[Mapping[str, np.ndarray]], *, concurrency: int, seconds: float
) -> np.ndarray:
    """When each inference ended, in seconds from the start, shape (n,), while ``concurrency`` threads share ``session``.

    Args:
        session: As :func:`interleave` takes it.
        feeds: Gone through in turn.
        concurrency: Inferences at a time.
        seconds: How long to go on; what is begun by then is ended.
    """
    if (device := current_device()) is not None:
        return device.count_inferences(session, feeds, concurrency=concurrency, seconds=seconds)
    begin = time.perf_counter()

    def run_until_end(offset: int) -> list[float]:
        stamps = []
        for index in itertools.count(offset):
            session.run(feeds[index % len(feeds)])
            stamps.append(time.perf_counter() - begin)
            if stamps[-1] > seconds:
                break
        return stamps

    with ThreadPoolExecutor(concurrency) as pool:
        return np.concatenate(list(pool.map(run_until_end, range(concurrency))))


def pick_timing_clock(config: SessionConfig) -> Callable[[], float]:
    """The clock that tells how long timing takes with ``config`` where nothing else runs: this thread's on the processor if
    that does all the work, else the wall's, for what other threads and machines take does not show on its own.
    """
    return pick_clock(own_thread=current_device() is None and _runs_on_this_thread(config))


def _runs_on_this_thread(config: SessionConfig) -> bool:
    """Whether the thread that calls does all the work."""
    return config.is_cpu and config.threads == 1 and not config.custom_ops
