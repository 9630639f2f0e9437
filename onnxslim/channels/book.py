"""Bookkeeping between the walk, which speaks of slots, and the analysis, which speaks of labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxslim.channels.collect import Collected
from onnxslim.channels.solve import Solution
from onnxslim.channels.trace import Axis, carries
from onnxslim.channels.units import Consumer, Pin, Producer, Remap, Site, Size

#: Why a unit is none after all.
ALONE = "removing it would leave nothing of an axis"


class Book:
    """Slots looked up as labels.

    Attributes:
        count: Number of units, those aside that would empty an axis.
        labels: Label arrays; positions in this list are what :meth:`number` returns.
    """

    def __init__(self, collected: Collected, solution: Solution) -> None:
        self.collected = collected
        self.labels: list[np.ndarray] = []
        self._reason = solution.reason
        self._by_slots: dict[int, int] = {}
        self._by_labels: dict[bytes, int] = {}
        self._alive: list[np.ndarray] = []
        self._table = solution.labels
        number = np.arange(-1, solution.units, dtype=np.int32)  # looked up with -1 as the last element
        number = np.append(number[1:], -1).astype(np.int32)
        alone = self._alone()
        number[alone] = -1
        kept = np.flatnonzero(number >= 0)
        number[kept] = np.arange(len(kept), dtype=np.int32)
        self.count = len(kept)
        self._table = number[solution.labels]
        self.whole = sorted({self.number(axis) for axis in self._axes() if self._full(axis)})

    def number(self, slots: np.ndarray) -> int:
        """The position of the labels of ``slots``."""
        if id(slots) not in self._by_slots:
            labels = self._table[slots]
            key = labels.tobytes()
            if key not in self._by_labels:
                self._by_labels[key] = len(self.labels)
                self.labels.append(labels)
            self._by_slots[id(slots)] = self._by_labels[key]
            self._alive.append(slots)
        return self._by_slots[id(slots)]

    def free(self, slots: Axis) -> int:
        """How many of ``slots`` may go."""
        return int((self.labels[self.number(slots)] >= 0).any(axis=1).sum()) if carries(slots) else 0

    def find(self, slots: Axis | None) -> int | None:
        """:meth:`number`, or None where none of the slots may go."""
        return self.number(slots) if carries(slots) and self.free(slots) else None

    def pins(self, slots: Axis) -> dict[tuple[str, str], int]:
        """(reason, node) -> how many of ``slots`` it holds, those first that hold most."""
        if isinstance(slots, str):
            return {("its size is not known", ""): 0}
        held = slots[~(self._table[slots] >= 0).any(axis=1)]
        numbers, times = np.unique(self._reason[held], return_counts=True)
        found = {
            self.collected.trace.reason(int(n)) if n >= 0 else (ALONE, ""): int(t)
            for n, t in zip(numbers, times, strict=True)
        }
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _axes(self) -> Iterator[np.ndarray]:
        """Every axis that has slots, each array once."""
        seen: dict[int, np.ndarray] = {}
        for _, op in self.collected.ops:
            for axes in (*op.outputs, *op.operands):
                for axis in axes or ():
                    if carries(axis) and id(axis) not in seen:
                        seen[id(axis)] = axis
        return iter(seen.values())

    def _alone(self) -> np.ndarray:
        """Units without which some axis would be empty."""
        alone: set[int] = set()
        for axis in self._axes():
            labels = self._table[axis]
            for unit in labels[0].tolist():
                if unit >= 0 and unit not in alone and (labels == unit).any(axis=1).all():
                    alone.add(unit)
        return np.asarray(sorted(alone), np.int64)

    def _full(self, axis: np.ndarray) -> bool:
        return bool((self._table[axis] >= 0).any(axis=1).all())


def sites(book: Book) -> dict[tuple[int, int, int], Site]:
    """(position, input, axis) -> site, for every axis of a constant that may lose slots."""
    found = {}
    for position, op in book.collected.ops:
        for i, constant in enumerate(op.constant):
            for a, slots in enumerate((op.operands[i] or ()) if constant else ()):
                labels = book.find(slots)
                if labels is not None:
                    found[position, i, a] = Site(position, op.name, op.node.op_type, i, op.tensor(i), a, labels)
    return found


def sizes(book: Book) -> Iterator[Size]:
    """Numbers that follow."""
    for position, op in book.collected.ops:
        for size in op.records.sizes:
            sources = [labels for slots in size.sources if (labels := book.find(slots)) is not None]
            if sources or any(book.find(slots) is not None for slots in size.counts.values()):
                counts = {e: book.number(slots) for e, slots in size.counts.items()}
                yield Size(position, size.target, counts, size.length, size.fixed, tuple(dict.fromkeys(sources)))


def remaps(book: Book) -> Iterator[Remap]:
    """Positions that follow."""
    for position, op in book.collected.ops:
        for i, slots in op.records.remaps:
            if book.find(slots) is not None:
                yield Remap(position, i, book.number(slots))


def producers(book: Book, known: dict[tuple[int, int, int], Site]) -> Iterator[Producer]:
    """Where units come from."""
    for position, op in book.collected.ops:
        for weight, bias, k, a in op.records.producers:
            site = known.get((position, *weight))
            if site is not None:
                beside = known.get((position, *bias)) if bias is not None else None
                yield Producer(site, beside, op.node.outputs[k].name or "", a)


def consumers(book: Book, known: dict[tuple[int, int, int], Site]) -> Iterator[Consumer]:
    """Where units are summed away."""
    for position, op in book.collected.ops:
        for i, a, slots, weight in op.records.consumers:
            labels = book.find(slots)
            if labels is not None:
                site = known.get((position, *weight)) if weight is not None else None
                yield Consumer(position, op.name, op.node.op_type, i, op.tensor(i), a, labels, site)


def values(book: Book) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Tensors with some unit, and the labels of their axes."""
    for _, op in book.collected.ops:
        for value, axes in zip(op.node.outputs, op.outputs, strict=True):
            found = tuple(book.find(axis) for axis in axes or ())
            if any(labels is not None for labels in found):
                yield value.name or "", found


def pins(book: Book) -> Iterator[Pin]:
    """What producers make that may not go, and why."""
    for _, op in book.collected.ops:
        made = [(k, a) for _, _, k, a in op.records.producers]
        for k, a in dict.fromkeys(made):
            axis = (op.outputs[k] or [])[a]
            for (reason, node), slots in book.pins(axis).items():
                yield Pin(op.node.outputs[k].name or "", a, slots, reason, node)
