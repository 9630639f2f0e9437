"""The slots of a model as they are collected, node by node: allocation, ties, pins, reshapes.

An axis is an int64 array of slots, or a name where its size is not known before run time (nothing on it can go). Axes
that carry over from one tensor to the next are the same array, so most nodes cost nothing; a tie is recorded only where
two different arrays meet. All-zero arrays (:data:`NOTHING`) stand for positions rather than channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from onnxslim.channels.slots.equations import CONFLICT_REASON, NO_CHANNEL
from onnxslim.channels.slots.solve import Product, Tie, common_factors


class FlattenedAxis(str):
    """An axis of unknown size that channels were flattened into: ``outer`` × ``inner``, e.g. batch × heads.

    Code that does not look inside sees a name like any other; pinning it pins its channels.
    """

    __slots__ = ("inner", "outer")

    outer: str
    inner: np.ndarray

    @staticmethod
    def of(name: str, outer: str, inner: np.ndarray) -> FlattenedAxis:
        """The axis called ``name``."""
        flat = FlattenedAxis(name)
        flat.outer, flat.inner = outer, inner
        return flat


Axis = np.ndarray | str
Axes = list[Axis]


def has_channels(axis: Axis | None) -> TypeGuard[np.ndarray]:
    """Whether there is a channel among the slots of ``axis``."""
    # The last slot tells nearly always; this is asked so often that any() alone would be a tenth of the analysis.
    return isinstance(axis, np.ndarray) and axis.size > 0 and bool(axis[-1] != NO_CHANNEL or axis.any())


class SlotTrace:
    """The slots of one model and every relation between them that the rules state.

    Attributes:
        slot_count: Slots allocated so far.
        ties: Pairs of slot arrays that are equal.
        pins: (slots, reason number).
        products: Reshapes.
        reasons: reason number -> (why, node or graph value); 0 is for positions.
    """

    def __init__(self) -> None:
        self.slot_count = 1
        self.ties: list[Tie] = []
        self.pins: list[tuple[np.ndarray, int]] = []
        self.products: list[Product] = []
        self.reasons: list[tuple[str, str]] = [("a position, not a channel", "")]
        self._reason_numbers: dict[tuple[str, str], int] = {}
        self._unknown_count = 0
        self._fixed: dict[int, np.ndarray] = {}
        self._split: dict[tuple[int, tuple[int, ...]], tuple[np.ndarray, ...]] = {}
        self._merged: dict[tuple[int, ...], np.ndarray] = {}
        self._kept_alive: list[np.ndarray] = []  # arrays that are keys by identity

    def new_channels(self, size: int) -> np.ndarray:
        """New channels, unrelated to any other; an axis of size 1 is no channel."""
        if size == 1:
            return self.fixed_slots(1)
        self.slot_count += size
        return np.arange(self.slot_count - size, self.slot_count)

    def fixed_slots(self, size: int) -> np.ndarray:
        """Positions: slots that never go."""
        if size not in self._fixed:
            self._fixed[size] = np.full(size, NO_CHANNEL, np.int64)
        return self._fixed[size]

    def new_symbolic_dim(self) -> str:
        """A name for an axis of which nothing is known."""
        self._unknown_count += 1
        return f"?{self._unknown_count}"

    def new_axis(self, dim: int | str | None) -> Axis:
        """A new axis of size or name ``dim``; a size below 0, as inferred behind a window larger than its input, is none."""
        if isinstance(dim, int):
            return self.new_channels(dim) if dim >= 0 else self.new_symbolic_dim()
        return dim or self.new_symbolic_dim()

    def pin(self, slots: Axis | None, reason: str, node: str) -> None:
        """``slots`` stay, because of ``reason``, says ``node``."""
        if isinstance(slots, FlattenedAxis):
            slots = slots.inner
        if has_channels(slots):
            number = self._reason_numbers.setdefault((reason, node), len(self.reasons))
            if number == len(self.reasons):
                self.reasons.append((reason, node))
            self.pins.append((slots, number))

    def get_reason(self, number: int) -> tuple[str, str]:
        """(why, node) of a reason number."""
        if number == CONFLICT_REASON:
            return "reshaped in ways that do not fit together", ""
        return self.reasons[number]

    def tie(self, left: Axis, right: Axis, node: str) -> Axis:
        """Make two axes the same channels; returns the one to go on with."""
        if left is right:
            return left
        if isinstance(left, FlattenedAxis) and isinstance(right, FlattenedAxis) and len(left.inner) == len(right.inner):
            self.tie(left.inner, right.inner, node)
            return left
        if isinstance(left, str) or isinstance(right, str):
            for side in (left, right):
                self.pin(side, "meets an axis whose size is not known", node)
            return left if isinstance(right, str) else right
        if len(left) != len(right):
            raise ValueError(f"axes of {len(left)} and {len(right)} do not match")
        fixed = (left == NO_CHANNEL) | (right == NO_CHANNEL)
        if fixed.any():
            for slots in (left, right):
                self.pin(slots[fixed], "meets an axis that may not change", node)
            if fixed.all():
                return left if left.any() else right
            self.ties.append((left[~fixed], right[~fixed]))
            return left
        self.ties.append((left, right))
        return left

    def split(self, whole: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """``whole`` reshaped to ``sizes``: the axes that result.

        Raises:
            ValueError: It has another number of slots.
        """
        if int(np.prod(sizes)) != len(whole):
            raise ValueError(f"an axis of {len(whole)} is no {' x '.join(map(str, sizes))}")
        if not whole.any():
            return tuple(self.fixed_slots(size) for size in sizes)
        key = (id(whole), tuple(sizes))
        if key not in self._split:
            if max(sizes) == len(whole):
                parts = tuple(whole if size == len(whole) else self.fixed_slots(size) for size in sizes)
            else:
                parts = tuple(self.new_channels(size) for size in sizes)
                self.products.append(Product(whole, tuple(part for part in parts if len(part) > 1)))
            self._remember(whole, parts)
            self._split[key] = parts
        return self._split[key]

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Neighbouring axes flattened into one, row-major."""
        parts = [part for part in parts if len(part) > 1] or [self.fixed_slots(1)]
        if len(parts) == 1:
            return parts[0]
        key = tuple(id(part) for part in parts)
        if key not in self._merged:
            size = int(np.prod([len(part) for part in parts]))
            carry_channels = [bool(part.any()) for part in parts]
            if sum(carry_channels) == 0:
                whole = self.fixed_slots(size)
            elif sum(carry_channels) == 1:  # channels and positions: each channel repeats
                grid = np.meshgrid(*parts, indexing="ij")[carry_channels.index(True)]
                whole = grid.ravel()
            else:
                whole = self.new_channels(size)
                self.products.append(Product(whole, tuple(parts)))
            self._remember(whole, tuple(parts))
        return self._merged[key]

    def reshape(self, axes: Sequence[np.ndarray], sizes: Sequence[int]) -> list[np.ndarray] | None:
        """Axes regrouped to ``sizes`` (equal products); None where the two do not fit together."""
        factors = common_factors([tuple(len(axis) for axis in axes), tuple(sizes)])
        if factors is None:
            return None
        pieces: list[np.ndarray] = []
        rest = list(factors)
        for axis in axes:
            pieces += [p for p in self.split(axis, _take_factors(rest, len(axis))) if len(p) > 1]
        result = []
        for size in sizes:
            taken: list[np.ndarray] = []
            while np.prod([len(piece) for piece in taken]) < size:
                taken.append(pieces.pop(0))
            result.append(self.merge(taken))
        return result

    def _remember(self, whole: np.ndarray, parts: tuple[np.ndarray, ...]) -> None:
        """What was split merges back to itself, and the other way round."""
        nontrivial = tuple(part for part in parts if len(part) > 1)
        self._kept_alive += [whole, *parts]
        self._merged.setdefault(tuple(id(part) for part in nontrivial), whole)
        self._split.setdefault((id(whole), tuple(len(part) for part in nontrivial)), nontrivial)


def _take_factors(factors: list[int], size: int) -> list[int]:
    """The leading factors that multiply to ``size``, removed from the list; [1] for an axis of size 1."""
    taken: list[int] = []
    while int(np.prod(taken)) < size:
        taken.append(factors.pop(0))
    return taken or [1]
