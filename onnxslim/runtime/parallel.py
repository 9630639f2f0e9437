"""Many inputs through one model, one thread of inference on each core; results in input order."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.runtime.session import Session, SessionConfig

T = TypeVar("T")
#: Inputs of a model, one run after another.
FeedIterable: TypeAlias = Iterable[Mapping[str, np.ndarray]]


def count_workers(config: SessionConfig) -> int:
    """How many inferences run side by side: one a core on the CPU, one on a device."""
    if not config.is_cpu:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


class SessionPool:
    """A session that several threads run at a time, each inference on a thread of its own.

    Sessions may be run concurrently, so that weights are held once however many cores there are.

    Args:
        model: What to run.
        config: Where; its threads are set to 1.
    """

    def __init__(self, model: ir.Model, config: SessionConfig | None = None) -> None:
        config = (config or SessionConfig()).with_(threads=1)
        self._count, self._session = count_workers(config), Session(model, config)

    def run(self, feeds: FeedIterable, reduce: Callable[[int, dict[str, Any]], T]) -> Iterator[T]:
        """Yield ``reduce(i, outputs of feed i)`` in order; the outputs are dropped as soon as they are reduced.

        onnxruntime and numpy release the interpreter's lock where the work is. At most two feeds a thread wait at any
        time, so memory does not grow with the number of feeds.
        """

        def run_one(index: int, feed: Mapping[str, np.ndarray]) -> T:
            return reduce(index, self._session.run(feed))

        with ThreadPoolExecutor(self._count) as pool:
            pending: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
            for index, feed in enumerate(feeds):
                pending.put(pool.submit(run_one, index, feed))
                if pending.qsize() > 2 * self._count:
                    yield pending.get().result()
            while not pending.empty():
                yield pending.get().result()


def run_all(
    model: ir.Model, feeds: FeedIterable, reduce: Callable[[int, dict[str, Any]], T], config: SessionConfig | None = None
) -> Iterator[T]:
    """Run ``feeds`` through ``model`` once; see :meth:`Pool.run`."""
    yield from SessionPool(model, config).run(feeds, reduce)
