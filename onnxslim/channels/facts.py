"""What is known of channels without data: constant ones, proportional ones, and bounds.

Each tensor has at most one axis of which facts are kept (its channels). Slot s of it is ``factor[s]`` times an unknown
tensor ``base[s]``; two slots of one base are proportional at every place and for every input. Base :data:`ONE` is the
tensor of ones, so a slot of base ONE is constant. Bounds hold for every input, too. How each op passes facts on is in
``transfer.py``; an op that is not there makes new channels of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

#: The base of constant slots.
ONE = 0

#: Rows that differ by less than this share of their largest element are proportional (float32 has 6e-8).
CLOSE = 1e-6


@dataclass(frozen=True)
class Facts:
    """What is known of the slots of one axis; all arrays are (n,).

    Attributes:
        axis: Which axis of the tensor, not negative.
        base: int64, see above.
        factor: float64; the constant itself for slots of base ONE.
        low: float64, a lower bound.
        high: float64, an upper bound.
    """

    axis: int
    base: np.ndarray
    factor: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.base)

    @property
    def constant(self) -> np.ndarray:
        """bool (n,): whether the slot is the same number everywhere."""
        found: np.ndarray = self.base == ONE
        return found

    @property
    def zero(self) -> np.ndarray:
        """bool (n,): whether the slot is zero everywhere."""
        found: np.ndarray = self.constant & (self.factor == 0)
        return found

    def take(self, index: np.ndarray) -> Facts:
        """The facts of some slots, in that order."""
        return Facts(self.axis, self.base[index], self.factor[index], self.low[index], self.high[index])

    def along(self, axis: int) -> Facts:
        """The same facts of another axis."""
        return replace(self, axis=axis)

    def settled(self) -> Facts:
        """Slots whose bounds meet are constant."""
        met = (self.low == self.high) & np.isfinite(self.low) & ~self.constant
        if not met.any():
            return self
        base, factor = np.where(met, ONE, self.base), np.where(met, self.low, self.factor)
        return Facts(self.axis, base, factor, self.low, self.high)


class Bases:
    """Hands out numbers for bases."""

    def __init__(self) -> None:
        self._next = ONE + 1

    def unknown(self, size: int, axis: int) -> Facts:
        """Channels of which nothing is known."""
        return self.keyed(axis, [np.arange(size)], np.ones(size))

    def keyed(
        self,
        axis: int,
        keys: Sequence[np.ndarray],
        factor: np.ndarray,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        constant: np.ndarray | None = None,
    ) -> Facts:
        """New channels: slots with equal keys have one base, those that are ``constant`` the base ONE."""
        size = len(factor)
        rows = np.column_stack([np.asarray(key).astype(np.float64) for key in keys])
        # + 0.0 makes -0.0 and 0.0 one key; the bits tell the rest apart.
        rows = np.ascontiguousarray(rows + 0.0).view([("", np.float64)] * rows.shape[1]).ravel()
        _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        base = self._next + inverse.ravel()
        self._next += len(first)
        if constant is not None:
            base = np.where(constant, ONE, base)
        low = np.full(size, -np.inf) if low is None else low
        high = np.full(size, np.inf) if high is None else high
        if constant is not None:
            low, high = np.where(constant, factor, low), np.where(constant, factor, high)
        return Facts(axis, base.astype(np.int64), factor.astype(np.float64), low, high)


def proportional(rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are positive multiples of each other.

    Args:
        rows: float64 (n, d), none of them zero.
        keys: int64 (n,); only rows of one key are compared.

    Returns:
        int64 (n,) the first row of each row's class; float64 (n,) how many times that row it is.
    """
    scale = np.abs(rows).max(axis=1)
    unit = rows / scale[:, None]
    # Neighbours along a random direction are the only ones that can be close: n log n instead of n².
    projection = unit @ np.random.default_rng(0).standard_normal(rows.shape[1])
    order = np.lexsort((projection, keys))
    leader = np.arange(len(rows))
    head = 0
    for place in range(1, len(order)):
        first, here = order[head], order[place]
        if keys[first] == keys[here] and np.abs(unit[first] - unit[here]).max() <= CLOSE:
            leader[here] = first
        else:
            head = place
    return leader, scale / scale[leader]
