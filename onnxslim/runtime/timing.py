"""Latency as a ratio: sessions timed in turn, so that a machine whose speed drifts drifts for all of them alike.

What other processes take is no time of a model's: where one thread on the CPU does all the work, its processor time is read
instead of the wall's. Alone on a machine both are the same; beside others the wall has shown one model five times slower
than itself.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.runtime.session import Session, SessionConfig

#: A clock that ticks no faster is of no use for rounds of some milliseconds (Windows counts 15 ms at a time).
_MAX_CLOCK_RESOLUTION = 1e-6


@dataclass(frozen=True)
class Timing:
    """Interleaved rounds of several sessions.

    Attributes:
        rounds: Seconds of one inference, by session name; element i of every array was measured in the same round.
        provider: The execution provider that ran, in the command line's spelling.
        threads: Intra-op threads.
        batch: Samples in one inference.
        is_processor_time: Whether the seconds are the thread's on the processor; otherwise they are the wall's.
    """

    rounds: dict[str, np.ndarray]
    provider: str
    threads: int
    batch: int
    is_processor_time: bool = False

    def median(self, name: str) -> float:
        """The median seconds of one session."""
        return float(np.median(self.rounds[name]))

    def ratio(self, base: str, other: str) -> float:
        """How many times faster ``other`` is than ``base``: the median of the per-round ratios."""
        return float(np.median(self.rounds[base] / self.rounds[other]))


def interleave(
    sessions: Mapping[str, Session],
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
        sessions: What to time; all on one provider, or their ratio means nothing.
        feeds: At least one input; round i uses feed i modulo their number.
        rounds: At most so many rounds, and at least 5.
        seconds: Stop when this much time has passed.
        warmup: Untimed inferences of each session first.
        progress: Called after each round.
        wall: Read the wall's clock, waits for other processes included, even where the thread has one of its own.
    """
    configs = [session.config for session in sessions.values()]
    is_processor_time = not wall and _runs_on_this_thread(configs)
    clock = time.thread_time if is_processor_time else time.perf_counter
    runs: dict[str, int] = {}
    for name, session in sessions.items():
        for index in range(max(1, warmup)):
            started = clock()
            session.run(feeds[index % len(feeds)])
            duration = clock() - started
        runs[name] = max(1, min(50, round(0.02 / max(duration, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in sessions}
    names = list(sessions)
    deadline = time.perf_counter() + seconds
    gc_was_on = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            if index >= 5 and time.perf_counter() > deadline:
                break
            shift = index % len(names)
            for name in names[shift:] + names[:shift]:
                run, feed = sessions[name].run, feeds[index % len(feeds)]
                started = clock()
                for _ in range(runs[name]):
                    run(feed)
                times[name].append((clock() - started) / runs[name])
            progress("timing", index + 1, rounds)
    finally:
        if gc_was_on:
            gc.enable()
    arrays = {name: np.asarray(values) for name, values in times.items()}
    first_input = next(iter(feeds[0].values()))
    batch = int(first_input.shape[0]) if first_input.ndim else 1
    return Timing(arrays, configs[0].provider, configs[0].threads, batch, is_processor_time)


def _runs_on_this_thread(configs: Sequence[SessionConfig]) -> bool:
    """Whether the thread that calls does all the work, and has a clock that is fine enough."""
    alone = all(config.is_cpu and config.threads == 1 and not config.custom_ops for config in configs)
    return alone and time.get_clock_info("thread_time").resolution <= _MAX_CLOCK_RESOLUTION
