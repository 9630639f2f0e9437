"""A fair sample of a stream whose length nobody knows: every item is kept with the same probability."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Reservoir(Generic[T]):
    """At most ``size`` items of all that were seen (Li's algorithm L, ACM TOMS 20, 1994).

    How many items to pass over is drawn beforehand, so that most cost a comparison: :meth:`wants` is asked first, and
    only what it wants has to be copied and put in.

    Attributes:
        items: What is kept, in no order.
        seen: How many items went by.

    Args:
        size: At least 1.
        seed: The same seed keeps the same places of a stream.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.items: list[T] = []
        self.seen = 0
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._weight, self._next = 1.0, size
        self._skip()

    def wants(self) -> bool:
        """Count one more item; whether it is to be :meth:`put` in."""
        self.seen += 1
        return self.seen <= self._size or self.seen == self._next

    def put(self, item: T) -> None:
        """Keep ``item``, in the place of another when there are enough."""
        if len(self.items) < self._size:
            self.items.append(item)
        else:
            self.items[int(self._rng.integers(self._size))] = item
            self._skip()

    def _skip(self) -> None:
        self._weight *= math.exp(math.log(1 - self._rng.random()) / self._size)
        self._next += math.floor(math.log(1 - self._rng.random()) / math.log1p(-self._weight)) + 1
