"""What is known of channels without data: constant ones, proportional ones, and bounds.

Each tensor has at most one axis of which facts are kept (its channels). Slot s of it is ``factor[s]`` times an unknown
tensor ``base[s]``; two slots of one base are proportional at every place and for every input. Base
:data:`CONSTANT_BASE` is the tensor of ones, so a slot of base ONE is constant. Bounds hold for every input, too. How
each op passes facts on is in ``transfer.py``; an op that is not there makes new channels of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

#: The base of constant slots.
CONSTANT_BASE = 0

#: Rows that differ by less than this share of their largest element are proportional (float32 has 6e-8).
PROPORTIONAL_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ChannelFacts:
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
    def is_constant(self) -> np.ndarray:
        """bool (n,): whether the slot is the same number everywhere."""
        return np.asarray(self.base == CONSTANT_BASE)

    @property
    def is_zero(self) -> np.ndarray:
        """bool (n,): whether the slot is zero everywhere."""
        return np.asarray(self.is_constant & (self.factor == 0))

    def take(self, index: np.ndarray) -> ChannelFacts:
        """The facts of some slots, in that order."""
        return ChannelFacts(self.axis, self.base[index], self.factor[index], self.low[index], self.high[index])

    def with_axis(self, axis: int) -> ChannelFacts:
        """The same facts of another axis."""
        return replace(self, axis=axis)

    def mark_constants(self) -> ChannelFacts:
        """Slots whose bounds meet are constant."""
        bounds_meet = (self.low == self.high) & np.isfinite(self.low) & ~self.is_constant
        if not bounds_meet.any():
            return self
        base, factor = np.where(bounds_meet, CONSTANT_BASE, self.base), np.where(bounds_meet, self.low, self.factor)
        return ChannelFacts(self.axis, base, factor, self.low, self.high)


class BaseAllocator:
    """Hands out numbers for bases."""

    def __init__(self) -> None:
        self._next = CONSTANT_BASE + 1

    def add_unknown(self, size: int, axis: int) -> ChannelFacts:
        """Channels of which nothing is known."""
        return self.assign_bases(axis, [np.arange(size)], np.ones(size))

    def assign_bases(
        self,
        axis: int,
        keys: Sequence[np.ndarray],
        factor: np.ndarray,
        low: np.ndarray | None = None,
        high: np.ndarray | None = None,
        constant: np.ndarray | None = None,
    ) -> ChannelFacts:
        """New channels: slots with equal keys have one base, those that are ``constant`` the base ONE."""
        size = len(factor)
        rows = np.column_stack([np.asarray(key).astype(np.float64) for key in keys])
        # + 0.0 makes -0.0 and 0.0 one key; the bits tell the rest apart.
        rows = np.ascontiguousarray(rows + 0.0).view([("", np.float64)] * rows.shape[1]).ravel()
        _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        base = self._next + inverse.ravel()
        self._next += len(first)
        if constant is not None:
            base = np.where(constant, CONSTANT_BASE, base)
        low = np.full(size, -np.inf) if low is None else low
        high = np.full(size, np.inf) if high is None else high
        if constant is not None:
            low, high = np.where(constant, factor, low), np.where(constant, factor, high)
        return ChannelFacts(axis, base.astype(np.int64), factor.astype(np.float64), low, high)


def find_proportional(rows: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are positive multiples of each other.

    Args:
        rows: float64 (n, d), none of them zero.
        keys: int64 (n,); only rows of one key are compared.

    Returns:
        int64 (n,) the first row of each row's class; float64 (n,) how many times that row it is.
    """
    scale = np.abs(rows).max(axis=1)
    normalized = rows / scale[:, None]
    # Neighbours along a random direction are the only ones that can be close: n log n instead of n².
    projection = normalized @ np.random.default_rng(0).standard_normal(rows.shape[1])
    order = np.lexsort((projection, keys))
    leader = np.arange(len(rows))
    head = 0
    for position in range(1, len(order)):
        first, current = order[head], order[position]
        if keys[first] == keys[current] and np.abs(normalized[first] - normalized[current]).max() <= PROPORTIONAL_TOLERANCE:
            leader[current] = first
        else:
            head = position
    return leader, scale / scale[leader]
