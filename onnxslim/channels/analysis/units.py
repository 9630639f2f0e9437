"""The plain data that an analysis of a model's channels consists of.

Words (see :mod:`onnxslim.channels`): a *slot* is one index of one axis of one tensor; a *unit* is the smallest thing
that can be removed so that every tensor stays rectangular; deleting a unit deletes every slot that carries it. A slot
may carry several units (in ``(heads, size)`` flattened, each slot carries its head and its place within the head).

*Labels* say which units the slots of an axis carry: an int32 array of shape (size of the axis, depth) with unit
numbers, -1 where there is none. A slot whose row is all -1 is pinned: it stays whatever is removed. The same labels
are often shared by many axes, so they are kept once, in :attr:`Analysis.labels`, and referred to by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class _AxisRead:
    """One axis of one input of a node.

    Attributes:
        node: Position of the node in ``model.graph``.
        name: Its name (``Op_position`` when it has none).
        op: Its op type.
        input: Which input.
        tensor: That input's name.
        axis: The axis of that input, not negative.
        labels: The labels of what is read along it, a position in :attr:`Analysis.labels`.
    """

    node: int
    name: str
    op: str
    input: int
    tensor: str
    axis: int
    labels: int


class Site(_AxisRead):
    """One axis of one constant as one node reads it. A constant with two readers has two sites (it is copied on write)."""


@dataclass(frozen=True)
class Consumer(_AxisRead):
    """A node that sums channels away along an axis of an input: Conv, ConvTranspose, Gemm, MatMul, Einsum, LSTM, GRU, RNN.

    A recurrence reads its own last state: there the input is the weight itself. For a grouped convolution the labels are
    those of the channels within a group, which is the weight's axis, not the input's.

    Attributes:
        weight: The constant's axis they meet, or None when both operands are activations (attention).
    """

    weight: Site | None


@dataclass(frozen=True)
class Producer:
    """A node whose constant weight makes new channels.

    Attributes:
        weight: The weight's output axis.
        bias: The node's own bias along it, if it has one (an Add after a MatMul is a :class:`Site` of its own).
        output: Name of the tensor that carries the channels.
        axis: The axis of that tensor.
    """

    weight: Site
    bias: Site | None
    output: str
    axis: int


@dataclass(frozen=True)
class Pin:
    """Slots that may not go.

    Attributes:
        tensor: The tensor's name.
        axis: Its axis.
        slots: How many of the axis's slots this holds.
        reason: Why, in one clause.
        node: The node that says so, or the graph's input or output by name.
    """

    tensor: str
    axis: int
    slots: int
    reason: str
    node: str


@dataclass(frozen=True)
class LayerReach:
    """A Conv, ConvTranspose, Gemm, MatMul, LSTM, GRU or RNN with a constant weight, for the reach.

    Attributes:
        name: The node's name.
        op: Its op type.
        channels: Output channels, or hidden units.
        free: How many of them belong to a unit.
        logits: Whether they are an output of the graph, with no other layer between.
        reason: Why the others are pinned, or "".
    """

    name: str
    op: str
    channels: int
    free: int
    logits: bool
    reason: str


@dataclass(frozen=True)
class DependentSize:
    """A number that counts slots, in an attribute or an integer input, and so has to follow them.

    Attributes:
        node: Position of the node in ``model.graph``.
        target: An input's position, or an attribute's name.
        counts: element of the target -> labels; the element is the number of their slots.
        length: How many elements a target has that is computed at run time; 0 for constants and attributes.
        fixed: element -> the number that it keeps although it is computed from sizes that may change (a scale).
        sources: Labels of the axes whose sizes it is computed from: it is overruled when one of them changes.
    """

    node: int
    target: int | str
    counts: dict[int, int]
    length: int = 0
    fixed: dict[int, int] = field(default_factory=dict)
    sources: tuple[int, ...] = ()


@dataclass(frozen=True)
class IndexRemap:
    """A constant input that holds positions along an axis (Gather's indices), which move as slots go.

    Attributes:
        node: Position of the node in ``model.graph``.
        input: Which input holds the positions.
        labels: The labels of the axis they point into.
    """

    node: int
    input: int
    labels: int


@dataclass(frozen=True)
class Analysis:
    """The channels of one model: what lives together, what may not go, what each unit would save.

    It refers to the model's nodes by their position, so it belongs to that model as it was, or to an unchanged copy.

    Attributes:
        count: Number of units; they are numbered from 0 in the order of the graph.
        labels: int32 arrays of shape (size, depth), see the module's docstring.
        sites: Every axis of a constant that loses slots with some unit.
        sizes: Sizes in attributes and integer inputs that change as slots go.
        remaps: Constant inputs with positions along an axis that move as slots go.
        tensor_labels: tensor name -> labels of each axis (None: nothing on that axis may go), for tensors with some unit.
        producers: Where units come from.
        consumers: Where units are summed away.
        unpinned_axes: Labels of the axes without a pinned slot, the only ones that a removal could empty.
        pinned: What may not go and why, for everything that a producer makes.
        layers: Every layer, for the reach.
        params: int64 (count,): parameters saved by removing each unit alone.
        macs: int64 (count,): multiply-accumulates at batch 1 saved by removing each unit alone.
        lossy: Whether units that a normalisation (LayerNorm …) averages over are included. Removing those changes
            the statistics of the others, so it is not exact.
    """

    count: int
    labels: Sequence[np.ndarray]
    sites: Sequence[Site]
    sizes: Sequence[DependentSize]
    remaps: Sequence[IndexRemap]
    tensor_labels: dict[str, tuple[int | None, ...]]
    producers: Sequence[Producer]
    consumers: Sequence[Consumer]
    unpinned_axes: Sequence[int]
    pinned: Sequence[Pin]
    layers: Sequence[LayerReach]
    params: np.ndarray
    macs: np.ndarray
    lossy: bool = False
    _cache: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def to_mask(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """``units`` (numbers, or already a mask) as a bool array (count,)."""
        chosen = np.asarray(units)
        if chosen.dtype == bool:
            return chosen
        mask = np.zeros(self.count, bool)
        mask[chosen.astype(np.int64)] = True
        return mask

    def kept_slots(self, labels: int, mask: np.ndarray) -> np.ndarray:
        """Which slots of an axis with these ``labels`` stay when the units in ``mask`` (count,) go: bool (size,)."""
        gone: np.ndarray = np.append(mask, False)[self.labels[labels]].any(axis=1)
        return ~gone

    def find_emptied_axes(self, units: Sequence[int] | np.ndarray) -> list[int]:
        """Labels (positions) of which removing ``units`` would leave nothing: such a set cannot be removed."""
        mask = self.to_mask(units)
        return [position for position in self.unpinned_axes if not self.kept_slots(position, mask).any()]

    def spare(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """The largest part of ``units`` that is left when every axis keeps a slot, as a mask (count,).

        Axes are visited in order; one that would be emptied gets back its last slot that needs the fewest units.
        """
        mask = self.to_mask(units).copy()
        for position in self.unpinned_axes:
            labels = self.labels[position]
            gone = np.append(mask, False)[labels]
            if gone.any(axis=1).all():
                restored = labels[len(labels) - 1 - int(gone.sum(axis=1)[::-1].argmin())]
                mask[restored[restored >= 0]] = False
        return mask

    def incidence(self, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Who holds which slot of which unit, sorted by unit: three int64 arrays of one length.

        Args:
            kind: ``"consumers"``, ``"producers"`` or ``"sites"``.

        Returns:
            unit numbers; positions in ``self.<kind>``; indices along the axis (for consumers, of
            :attr:`Consumer.labels`). ``np.searchsorted(unit, [u, u + 1])`` is the part of unit u.
        """
        if kind not in self._cache:
            holder_labels = {
                "consumers": [c.labels for c in self.consumers],
                "producers": [p.weight.labels for p in self.producers],
                "sites": [s.labels for s in self.sites],
            }[kind]
            self._cache[kind] = _compute_incidence([self.labels[position] for position in holder_labels])
        return self._cache[kind]

    def consumers_of(self, unit: int) -> list[tuple[Consumer, np.ndarray]]:
        """Every consumer of ``unit`` with the indices it sums over, along its weight's axis."""
        return [(self.consumers[p], index) for p, index in self._find_holders("consumers", unit)]

    def producers_of(self, unit: int) -> list[tuple[Producer, np.ndarray]]:
        """Every producer of ``unit`` with the indices along its weight's output axis (and its bias)."""
        return [(self.producers[p], index) for p, index in self._find_holders("producers", unit)]

    @property
    def prunable_share(self) -> float:
        """Share of the layers' output channels that belong to a unit, logits aside; 1.0 without such a layer."""
        inner = [layer for layer in self.layers if not layer.logits]
        total = sum(layer.channels for layer in inner)
        return sum(layer.free for layer in inner) / total if total else 1.0

    def _find_holders(self, kind: str, unit: int) -> list[tuple[int, np.ndarray]]:
        numbers, holders, index = self.incidence(kind)
        start, stop = np.searchsorted(numbers, [unit, unit + 1])
        holders, index = holders[start:stop], index[start:stop]
        return [(int(holder), index[holders == holder]) for holder in np.unique(holders)]


def _compute_incidence(labels: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    units, holders, indices = [], [], []
    for holder, array in enumerate(labels):
        index, column = np.nonzero(array >= 0)
        units.append(array[index, column])
        holders.append(np.full(len(index), holder))
        indices.append(index)
    if not units:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty
    unit = np.concatenate(units).astype(np.int64)
    order = np.argsort(unit, kind="stable")
    return unit[order], np.concatenate(holders)[order], np.concatenate(indices)[order]
