"""The table from slots, which the walk speaks of, to labels, which the analysis speaks of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxslim.channels.analysis.collect import TracedGraph
from onnxslim.channels.analysis.units import Consumer, DependentSize, IndexRemap, Pin, Producer, Site
from onnxslim.channels.slots.slot_tracing import Axis, has_channels
from onnxslim.channels.slots.solve import Solution

#: Why the slots of a unit are pinned whose removal would empty an axis.
WOULD_EMPTY_AXIS = "removing it would leave nothing of an axis"


class LabelTable:
    """Slots looked up as labels.

    Attributes:
        count: Number of units, without those whose removal alone would empty an axis.
        labels: Label arrays; positions in this list are what :meth:`intern_labels` returns.
    """

    def __init__(self, collected: TracedGraph, solution: Solution) -> None:
        self.collected = collected
        self.labels: list[np.ndarray] = []
        self._reason = solution.reason
        self._by_slots: dict[int, int] = {}
        self._by_labels: dict[bytes, int] = {}
        self._kept_alive: list[np.ndarray] = []
        self._slot_labels = solution.labels
        new_numbers = np.arange(-1, solution.units, dtype=np.int32)  # looked up with -1 as the last element
        new_numbers = np.append(new_numbers[1:], -1).astype(np.int32)
        emptying = self._find_emptying_units()
        new_numbers[emptying] = -1
        kept = np.flatnonzero(new_numbers >= 0)
        new_numbers[kept] = np.arange(len(kept), dtype=np.int32)
        self.count = len(kept)
        self._slot_labels = new_numbers[solution.labels]
        unpinned = [axis for axis in self._iterate_axes() if (self._slot_labels[axis] >= 0).any(axis=1).all()]
        self.unpinned_axes = sorted({self.intern_labels(axis) for axis in unpinned})

    def intern_labels(self, slots: np.ndarray) -> int:
        """The position of the labels of ``slots``."""
        if id(slots) not in self._by_slots:
            labels = self._slot_labels[slots]
            key = labels.tobytes()
            if key not in self._by_labels:
                self._by_labels[key] = len(self.labels)
                self.labels.append(labels)
            self._by_slots[id(slots)] = self._by_labels[key]
            self._kept_alive.append(slots)
        return self._by_slots[id(slots)]

    def count_free(self, slots: Axis) -> int:
        """How many of ``slots`` may go."""
        return int((self.labels[self.intern_labels(slots)] >= 0).any(axis=1).sum()) if has_channels(slots) else 0

    def find_labels(self, slots: Axis | None) -> int | None:
        """:meth:`intern_labels`, or None where none of the slots may go."""
        return self.intern_labels(slots) if has_channels(slots) and self.count_free(slots) else None

    def count_pins(self, slots: Axis) -> dict[tuple[str, str], int]:
        """(reason, node) -> how many of ``slots`` it holds, those first that hold most."""
        if isinstance(slots, str):
            return {("its size is not known", ""): 0}
        pinned = slots[~(self._slot_labels[slots] >= 0).any(axis=1)]
        numbers, times = np.unique(self._reason[pinned], return_counts=True)
        counts = {
            self.collected.trace.get_reason(int(n)) if n >= 0 else (WOULD_EMPTY_AXIS, ""): int(t)
            for n, t in zip(numbers, times, strict=True)
        }
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def _iterate_axes(self) -> Iterator[np.ndarray]:
        """Every axis that has slots, each array once."""
        seen: dict[int, np.ndarray] = {}
        for _, op in self.collected.ops:
            for axes in (*op.outputs, *op.operands):
                for axis in axes or ():
                    if has_channels(axis) and id(axis) not in seen:
                        seen[id(axis)] = axis
        return iter(seen.values())

    def _find_emptying_units(self) -> np.ndarray:
        """Units without which some axis would be empty."""
        emptying: set[int] = set()
        for axis in self._iterate_axes():
            labels = self._slot_labels[axis]
            for unit in labels[0].tolist():
                if unit >= 0 and unit not in emptying and (labels == unit).any(axis=1).all():
                    emptying.add(unit)
        return np.asarray(sorted(emptying), np.int64)


def find_sites(table: LabelTable) -> dict[tuple[int, int, int], Site]:
    """(position, input, axis) -> site, for every axis of a constant that may lose slots."""
    known_sites = {}
    for position, op in table.collected.ops:
        for i, constant in enumerate(op.is_constant):
            for a, slots in enumerate((op.operands[i] or ()) if constant else ()):
                labels = table.find_labels(slots)
                if labels is not None:
                    known_sites[position, i, a] = Site(position, op.name, op.node.op_type, i, op.input_name(i), a, labels)
    return known_sites


def find_sizes(table: LabelTable) -> Iterator[DependentSize]:
    """Sizes in attributes and integer inputs that change as slots go."""
    for position, op in table.collected.ops:
        for size in op.records.sizes:
            source_labels = [labels for slots in size.sources if (labels := table.find_labels(slots)) is not None]
            if source_labels or any(table.find_labels(slots) is not None for slots in size.counts.values()):
                counts = {e: table.intern_labels(slots) for e, slots in size.counts.items()}
                yield DependentSize(
                    position, size.target, counts, size.length, size.fixed, tuple(dict.fromkeys(source_labels))
                )


def find_remaps(table: LabelTable) -> Iterator[IndexRemap]:
    """Constant inputs with positions along an axis that move as slots go."""
    for position, op in table.collected.ops:
        for i, slots in op.records.remaps:
            if table.find_labels(slots) is not None:
                yield IndexRemap(position, i, table.intern_labels(slots))


def find_producers(table: LabelTable, known_sites: dict[tuple[int, int, int], Site]) -> Iterator[Producer]:
    """Where units come from."""
    for position, op in table.collected.ops:
        for weight, bias, k, a in op.records.producers:
            site = known_sites.get((position, *weight))
            if site is not None:
                bias_site = known_sites.get((position, *bias)) if bias is not None else None
                yield Producer(site, bias_site, op.node.outputs[k].name or "", a)


def find_consumers(table: LabelTable, known_sites: dict[tuple[int, int, int], Site]) -> Iterator[Consumer]:
    """Where units are summed away."""
    for position, op in table.collected.ops:
        for i, a, slots, weight in op.records.consumers:
            labels = table.find_labels(slots)
            if labels is not None:
                site = known_sites.get((position, *weight)) if weight is not None else None
                yield Consumer(position, op.name, op.node.op_type, i, op.input_name(i), a, labels, site)


def find_tensor_labels(table: LabelTable) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Tensors with some unit, and the labels of their axes."""
    for _, op in table.collected.ops:
        for value, axes in zip(op.node.outputs, op.outputs, strict=True):
            axis_labels = tuple(table.find_labels(axis) for axis in axes or ())
            if any(labels is not None for labels in axis_labels):
                yield value.name or "", axis_labels


def find_pins(table: LabelTable) -> Iterator[Pin]:
    """What producers make that may not go, and why."""
    for _, op in table.collected.ops:
        produced_axes = [(k, a) for _, _, k, a in op.records.producers]
        for k, a in dict.fromkeys(produced_axes):
            axes = op.outputs[k] or []
            if a >= len(axes):
                continue  # its rule declined: nothing is known of what it makes
            axis = axes[a]
            for (reason, node), slots in table.count_pins(axis).items():
                yield Pin(op.node.outputs[k].name or "", a, slots, reason, node)
