"""Which activations cost the outputs most: a bisection, each half judged by what keeping it in float would gain."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

#: Segments that are judged at most; each is one short run of a simulated model.
MAX_TRIALS = 24


def bisect_sensitive_tensors(
    names: Sequence[str], error: Callable[[frozenset[str]], float], trials: int = MAX_TRIALS
) -> Iterator[frozenset[str]]:
    """Growing sets of tensors to keep in float, none and then the costliest first, as ``error`` measures them.

    Contiguous segments are judged whole, because what a chain of tensors costs shows only when all of it is spared: one
    tensor that stays quantised among them keeps the loss. The segment whose sparing mends most is halved, and so on
    until ``trials`` are spent; then the smallest segments are spared one after another, by what they mend for each name.

    Args:
        names: In graph order.
        error: What the outputs lose when these names are spared.
        trials: How often ``error`` may be asked.
    """
    if not names:
        return
    yield frozenset()
    full_error = error(frozenset())
    # largest gain first; the number breaks ties by graph order
    queue: list[tuple[float, int, int]] = [(-(full_error - error(frozenset(names))), 0, len(names))]
    leaves: list[tuple[float, int, int]] = []
    trials_left = trials - 2
    while queue:
        gain, start, stop = heapq.heappop(queue)
        if stop - start == 1 or trials_left < 2:
            leaves.append((gain / (stop - start), start, stop))
            continue
        middle = (start + stop) // 2
        for first, last in ((start, middle), (middle, stop)):
            heapq.heappush(queue, (-(full_error - error(frozenset(names[first:last]))), first, last))
        trials_left -= 2
    kept_float: frozenset[str] = frozenset()
    for _, start, stop in sorted(leaves):
        kept_float |= frozenset(names[start:stop])
        yield kept_float
