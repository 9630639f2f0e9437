"""The slots of a model as they are collected, node by node: allocation, ties, pins, reshapes.

An axis is an int64 array of slots, or a name where its size is not known before run time (nothing on it can go). Axes
that carry over from one tensor to the next are the same array, so most nodes cost nothing; a tie is recorded only where
two different arrays meet. All-zero arrays (:data:`NOTHING`) stand for positions rather than channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from onnxslim.channels.equations import CONFLICT, NOTHING
from onnxslim.channels.solve import Product, Tie, common_factors


class Flat(str):
    """An axis of unknown size that channels were flattened into: ``outer`` × ``inner``, e.g. batch × heads.

    To whom it does not concern it is a name like any other, and pinning it pins its channels.
    """

    __slots__ = ("inner", "outer")

    outer: str
    inner: np.ndarray

    @staticmethod
    def of(name: str, outer: str, inner: np.ndarray) -> Flat:
        """The axis called ``name``."""
        flat = Flat(name)
        flat.outer, flat.inner = outer, inner
        return flat


Axis = np.ndarray | str
Axes = list[Axis]


def carries(axis: Axis | None) -> TypeGuard[np.ndarray]:
    """Whether there is a channel among the slots of ``axis``."""
    # The last slot tells nearly always; this is asked so often that any() alone would be a tenth of the analysis.
    return isinstance(axis, np.ndarray) and axis.size > 0 and bool(axis[-1] != NOTHING or axis.any())


class Trace:
    """Everything that the rules say.

    Attributes:
        count: Slots allocated so far.
        ties: Pairs of slot arrays that are equal.
        pins: (slots, reason number).
        products: Reshapes.
        reasons: reason number -> (why, node or graph value); 0 is for positions.
    """

    def __init__(self) -> None:
        self.count = 1
        self.ties: list[Tie] = []
        self.pins: list[tuple[np.ndarray, int]] = []
        self.products: list[Product] = []
        self.reasons: list[tuple[str, str]] = [("a position, not a channel", "")]
        self._numbers: dict[tuple[str, str], int] = {}
        self._unknown = 0
        self._still: dict[int, np.ndarray] = {}
        self._split: dict[tuple[int, tuple[int, ...]], tuple[np.ndarray, ...]] = {}
        self._merged: dict[tuple[int, ...], np.ndarray] = {}
        self._alive: list[np.ndarray] = []  # arrays that are keys by identity

    def fresh(self, size: int) -> np.ndarray:
        """New channels, unrelated to any other; an axis of size 1 is no channel."""
        if size == 1:
            return self.still(1)
        self.count += size
        return np.arange(self.count - size, self.count)

    def still(self, size: int) -> np.ndarray:
        """Positions: slots that never go."""
        if size not in self._still:
            self._still[size] = np.full(size, NOTHING, np.int64)
        return self._still[size]

    def unknown(self) -> str:
        """A name for an axis of which nothing is known."""
        self._unknown += 1
        return f"?{self._unknown}"

    def pin(self, slots: Axis | None, why: str, node: str) -> None:
        """``slots`` stay, because of ``why``, says ``node``."""
        if isinstance(slots, Flat):
            slots = slots.inner
        if carries(slots):
            number = self._numbers.setdefault((why, node), len(self.reasons))
            if number == len(self.reasons):
                self.reasons.append((why, node))
            self.pins.append((slots, number))

    def reason(self, number: int) -> tuple[str, str]:
        """(why, node) of a reason number."""
        if number == CONFLICT:
            return "reshaped in ways that do not fit together", ""
        return self.reasons[number]

    def tie(self, one: Axis, two: Axis, node: str) -> Axis:
        """Make two axes the same channels; returns the one to go on with."""
        if one is two:
            return one
        if isinstance(one, Flat) and isinstance(two, Flat) and len(one.inner) == len(two.inner):
            self.tie(one.inner, two.inner, node)
            return one
        if isinstance(one, str) and isinstance(two, str):
            for axis in (one, two):
                self.pin(axis, "meets an axis whose size is not known", node)
            return one
        if isinstance(one, str) or isinstance(two, str):
            for side in (one, two):
                self.pin(side, "meets an axis whose size is not known", node)
            return two if isinstance(one, str) else one
        if len(one) != len(two):
            raise ValueError(f"axes of {len(one)} and {len(two)} do not match")
        nothing = (one == NOTHING) | (two == NOTHING)
        if nothing.any():
            for slots in (one, two):
                self.pin(slots[nothing], "meets an axis that may not change", node)
            if nothing.all():
                return one if one.any() else two
            self.ties.append((one[~nothing], two[~nothing]))
            return one
        self.ties.append((one, two))
        return one

    def split(self, whole: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """``whole`` reshaped to ``sizes``: the axes that result."""
        if not whole.any():
            return tuple(self.still(size) for size in sizes)
        key = (id(whole), tuple(sizes))
        if key not in self._split:
            if max(sizes) == len(whole):
                parts = tuple(whole if size == len(whole) else self.still(size) for size in sizes)
            else:
                parts = tuple(self.fresh(size) for size in sizes)
                self.products.append(Product(whole, tuple(part for part in parts if len(part) > 1)))
            self._remember(whole, parts)
            self._split[key] = parts
        return self._split[key]

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Neighbouring axes flattened into one, row-major."""
        parts = [part for part in parts if len(part) > 1] or [self.still(1)]
        if len(parts) == 1:
            return parts[0]
        key = tuple(id(part) for part in parts)
        if key not in self._merged:
            size = int(np.prod([len(part) for part in parts]))
            channels = [bool(part.any()) for part in parts]
            if sum(channels) == 0:
                whole = self.still(size)
            elif sum(channels) == 1:  # channels and positions: each channel repeats
                grid = np.meshgrid(*parts, indexing="ij")[channels.index(True)]
                whole = grid.ravel()
            else:
                whole = self.fresh(size)
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
            pieces += [p for p in self.split(axis, _take(rest, len(axis))) if len(p) > 1]
        result = []
        for size in sizes:
            taken: list[np.ndarray] = []
            while np.prod([len(piece) for piece in taken]) < size:
                taken.append(pieces.pop(0))
            result.append(self.merge(taken))
        return result

    def _remember(self, whole: np.ndarray, parts: tuple[np.ndarray, ...]) -> None:
        """What was split merges back to itself, and the other way round."""
        real = tuple(part for part in parts if len(part) > 1)
        self._alive += [whole, *parts]
        self._merged.setdefault(tuple(id(part) for part in real), whole)
        self._split.setdefault((id(whole), tuple(len(part) for part in real)), real)


def _take(factors: list[int], size: int) -> list[int]:
    """The leading factors that multiply to ``size``, removed from the list; [1] for an axis of size 1."""
    taken: list[int] = []
    while int(np.prod(taken)) < size:
        taken.append(factors.pop(0))
    return taken or [1]
