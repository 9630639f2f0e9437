"""Many inputs through one model, a single-threaded session on each core; results in input order."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.runtime.session import Session, SessionConfig

T = TypeVar("T")


def workers(config: SessionConfig) -> int:
    """How many sessions run side by side: one a core on the CPU, one on a device."""
    if config.provider != "cpu":
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def run_all(
    model: ir.Model,
    feeds: Iterable[Mapping[str, np.ndarray]],
    reduce: Callable[[int, dict[str, Any]], T],
    config: SessionConfig | None = None,
) -> Iterator[T]:
    """Yield ``reduce(i, outputs of feed i)`` in order; the outputs themselves are dropped as soon as they are reduced.

    One thread a session; onnxruntime and numpy release the interpreter's lock where the work is. At most two feeds a
    session wait at any time, so memory does not grow with the number of feeds.
    """
    config = (config or SessionConfig()).with_(threads=1)
    count = workers(config)
    sessions: queue.SimpleQueue[Session] = queue.SimpleQueue()
    for _ in range(count):
        sessions.put(Session(model, config))

    def one(index: int, feed: Mapping[str, np.ndarray]) -> T:
        session = sessions.get()
        try:
            return reduce(index, session.run(feed))
        finally:
            sessions.put(session)

    with ThreadPoolExecutor(count) as pool:
        waiting: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
        for index, feed in enumerate(feeds):
            waiting.put(pool.submit(one, index, feed))
            if waiting.qsize() > 2 * count:
                yield waiting.get().result()
        while not waiting.empty():
            yield waiting.get().result()
