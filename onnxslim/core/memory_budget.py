"""How many bytes a command plans with: one figure for the process, which what is held, batched and sampled is a share of.

By default it is 1.2 GB whatever the machine has, so that the same input gives the same result everywhere; ``--max-memory``
sets another. What a process holds before it does anything (the interpreter, the runtime, libraries, the model) is not to
be divided, so only what is beyond that grows and shrinks with the budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Bytes that a command plans with unless told otherwise.
DEFAULT_BYTES = 1_200_000_000
#: What a process holds anyway.
PROCESS_BYTES = 400_000_000
#: A share is never less, nor more, than these parts of its default: below, nothing could run; above, nothing is gained.
_MIN_SCALE, _MAX_SCALE = 1 / 16, 4.0

_PLANNED: ContextVar[int] = ContextVar("memory_budget", default=DEFAULT_BYTES)


@contextmanager
def plan_memory(max_bytes: int | None) -> Iterator[None]:
    """Plan with ``max_bytes`` for as long as the block runs; None leaves the plan as it is."""
    if max_bytes is None:
        yield
        return
    token = _PLANNED.set(max_bytes)
    try:
        yield
    finally:
        _PLANNED.reset(token)


def scale_bytes(default: int) -> int:
    """What becomes of a share of ``default`` bytes of the default budget under the one that is planned with."""
    scale = (_PLANNED.get() - PROCESS_BYTES) / (DEFAULT_BYTES - PROCESS_BYTES)
    return int(default * min(max(scale, _MIN_SCALE), _MAX_SCALE))
