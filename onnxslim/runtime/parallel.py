"""Many inputs through one model, one thread of inference on each core; results in input order."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.core.cpu_info import count_own_cores
from onnxslim.core.memory_budget import scale_bytes
from onnxslim.runtime.memory import read_resident_bytes, release_freed_memory
from onnxslim.runtime.session import Session, SessionConfig

T = TypeVar("T")
#: What runs side by side may take, and from how many on that is looked at: two never take much.
MAX_POOL_BYTES, MIN_MEASURED_COUNT = 336_000_000, 2
#: Inputs of a model, one run after another.
FeedIterable: TypeAlias = Iterable[Mapping[str, np.ndarray]]


def count_workers(config: SessionConfig) -> int:
    """How many inferences run side by side: one a core on the CPU, one on a device."""
    if not config.is_cpu:
        return 1
    return count_own_cores()


def _limit_count(count: int, before: int | None, after: int | None) -> int:
    """How many of ``count`` runs fit side by side, where one made a process grow from ``before`` to ``after`` bytes."""
    if before is None or after is None or after <= before:
        return count
    return max(1, min(count, scale_bytes(MAX_POOL_BYTES) // (after - before)))


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

        onnxruntime and numpy release the interpreter's lock where the work is. At most one feed more than there are threads
        is under way or done and waits, for results are large; so memory does not grow with the number of feeds, nor with the
        number of cores: what the first run takes, for which the others wait, tells how many go on side by side.
        """

        def run_one(index: int, feed: Mapping[str, np.ndarray]) -> T:
            return reduce(index, self._session.run(feed))

        numbered, count = enumerate(feeds), self._count
        if count > MIN_MEASURED_COUNT:
            release_freed_memory()
            before = read_resident_bytes()
            for index, feed in itertools.islice(numbered, 1):
                yield run_one(index, feed)
            count = _limit_count(count, before, read_resident_bytes())
        with ThreadPoolExecutor(count) as pool:
            pending: queue.SimpleQueue[Future[T]] = queue.SimpleQueue()
            for index, feed in numbered:
                pending.put(pool.submit(run_one, index, feed))
                if pending.qsize() > count:
                    yield pending.get().result()
            while not pending.empty():
                yield pending.get().result()


def run_all(
    model: ir.Model, feeds: FeedIterable, reduce: Callable[[int, dict[str, Any]], T], config: SessionConfig | None = None
) -> Iterator[T]:
    """Run ``feeds`` through ``model`` once; see :meth:`Pool.run`."""
    yield from SessionPool(model, config).run(feeds, reduce)
