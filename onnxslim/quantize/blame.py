"""Which activations cost the outputs most: found by halving, each half judged by what leaving it in float would mend."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

#: Segments that are judged at most; each is one short run of a simulated model.
TRIALS = 24


def costliest(
    names: Sequence[str], error: Callable[[frozenset[str]], float], trials: int = TRIALS
) -> Iterator[frozenset[str]]:
    """Growing sets of names to spare, none and then the costliest first, from ``error``'s point of view.

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
    everything = error(frozenset())
    # largest gain first; the number breaks ties by graph order
    queue: list[tuple[float, int, int]] = [(-(everything - error(frozenset(names))), 0, len(names))]
    leaves: list[tuple[float, int, int]] = []
    left = trials - 2
    while queue:
        gain, start, stop = heapq.heappop(queue)
        if stop - start == 1 or left < 2:
            leaves.append((gain / (stop - start), start, stop))
            continue
        middle = (start + stop) // 2
        for first, last in ((start, middle), (middle, stop)):
            heapq.heappush(queue, (-(everything - error(frozenset(names[first:last]))), first, last))
        left -= 2
    spared: frozenset[str] = frozenset()
    for _, start, stop in sorted(leaves):
        spared |= frozenset(names[start:stop])
        yield spared
