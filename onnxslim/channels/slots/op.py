"""What a rule sees of its node: the axes of its operands, and verbs to relate them.

A rule mentions an operand's axis by :meth:`Op.axis` or :meth:`Op.join`; every axis that it does not mention stays as it
is (is pinned). So a rule is right as soon as what it does say is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import overload

import numpy as np
import onnx_ir as ir

from onnxslim.channels.slots.node import DeclinedError, Node
from onnxslim.channels.slots.rule_records import RuleRecords, SizeRecord, WalkState
from onnxslim.channels.slots.slot_tracing import Axes, Axis, SlotTrace, has_channels
from onnxslim.graph import shapes


class Op(Node):
    """One node with the slots of its operands, as its rule relates them."""

    def __init__(self, node: ir.Node, trace: SlotTrace, state: WalkState) -> None:
        super().__init__(node, trace, state)
        self.records = RuleRecords()
        self.outputs: list[Axes | None] = [None] * len(node.outputs)
        self._mentioned = [[False] * len(axes or ()) for axes in self.operands]

    # relations

    def axis(self, i: int, a: int) -> Axis:
        """Axis ``a`` (may be negative) of input ``i``."""
        a = self.normalize_axis(a, self.rank(i))
        axes = self.operands[i]
        assert axes is not None
        self._mentioned[i][a] = True
        axis = axes[a]
        if axis is None:  # a constant's, not yet anything
            axis = axes[a] = self.trace.new_channels(self.size(i, a) or 0)
        return axis

    def channels(self, i: int, a: int) -> np.ndarray:
        """The same, of an axis whose size must be known."""
        axis = self.axis(i, a)
        if isinstance(axis, str):
            raise DeclinedError("the number of channels is not known")
        return axis

    def axes(self, i: int) -> Axes:
        """All axes of input ``i``."""
        return [self.axis(i, a) for a in range(self.rank(i))]

    def join(self, i: int, a: int, slots: Axis) -> Axis:
        """Axis ``a`` of input ``i`` is the same channels as ``slots``."""
        a = self.normalize_axis(a, self.rank(i))
        axes = self.operands[i]
        assert axes is not None
        if axes[a] is None and isinstance(slots, np.ndarray) and self.size(i, a) == len(slots):
            axes[a] = slots
            self._mentioned[i][a] = True
            return slots
        return self.tie(slots, self.axis(i, a))

    def tie(self, left: Axis, right: Axis) -> Axis:
        """Two axes are the same channels."""
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and len(left) != len(right):
            raise DeclinedError(f"axes of {len(left)} and {len(right)} do not match")
        return self.trace.tie(left, right, self.name)

    def pin(self, slots: Axis | None, reason: str) -> None:
        """``slots`` may not be removed."""
        self.trace.pin(slots, reason, self.name)

    def new_channels(self, size: int) -> np.ndarray:
        """New channels."""
        return self.trace.new_channels(size)

    @overload
    def fixed_slots(self, size: int) -> np.ndarray: ...

    @overload
    def fixed_slots(self, size: str) -> str: ...

    def fixed_slots(self, size: int | str) -> Axis:
        """Positions, which never go."""
        return self.trace.fixed_slots(size) if isinstance(size, int) else size

    def split(self, slots: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """An axis reshaped to ``sizes``."""
        return self.trace.split(slots, sizes)

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Neighbouring axes flattened into one."""
        return self.trace.merge(parts)

    def broadcast(self, inputs: Iterable[int]) -> Axes:
        """Join axes of several inputs as numpy broadcasts them: aligned at the end, a size of 1 joins nothing."""
        inputs = sorted(inputs, key=lambda i: self.is_constant[i])  # constants last: they take on what the others are
        rank = max((self.rank(i) for i in inputs), default=0)
        return [
            self.join_aligned([(i, self.rank(i) - back) for i in inputs if self.rank(i) >= back])
            for back in range(rank, 0, -1)
        ]

    def join_aligned(self, sides: Sequence[tuple[int, int]]) -> Axis:
        """Join (input, axis) pairs that broadcast against each other; returns the axis that results."""
        result: Axis | None = None
        for i, a in sides:
            if self.size(i, a) == 1:
                self.axis(i, a)
            else:
                result = self.axis(i, a) if result is None else self.join(i, a, result)
        return self.fixed_slots(1) if result is None else result

    # results

    def set_output(self, k: int, axes: Sequence[Axis]) -> None:
        """Output ``k`` has these axes."""
        if k < len(self.outputs):
            self.outputs[k] = list(axes)

    def fill_output(self, k: int, axes: Mapping[int, Axis] | None = None) -> None:
        """Output ``k``, of input 0's rank, has the axes in ``axes`` and positions elsewhere."""
        if k < len(self.outputs):
            dims = self.output_dims(k, self.rank(0) if axes else None)
            self.set_output(k, [(axes or {}).get(a, self.fixed_slots(size)) for a, size in enumerate(dims)])

    def record_producer(self, weight: tuple[int, int], out: int, bias: tuple[int, int] | None = None) -> None:
        """The constant's axis ``weight`` = (input, axis) makes the channels of axis ``out`` of output 0."""
        if self.is_constant[weight[0]]:
            bias = bias if bias is not None and self.has_input(bias[0]) and self.is_constant[bias[0]] else None
            self.records.producers.append((weight, bias, 0, out))

    def record_consumer(self, i: int, a: int, slots: Axis, weight: tuple[int, int]) -> None:
        """Channels ``slots`` of axis ``a`` of input ``i`` are summed away against ``weight`` = (input, axis)."""
        if has_channels(slots):
            self.records.consumers.append((i, a, slots, weight if self.is_constant[weight[0]] else None))

    def record_size(self, target: int | str, counts: Mapping[int, Axis], source_axes: Sequence[np.ndarray] = ()) -> None:
        """Element e of ``target`` (an input's position or an attribute) is the number of slots in ``counts[e]``.

        It is written again when one of them goes, or one of those ``source_axes`` it.
        """
        carrying = {e: slots for e, slots in counts.items() if has_channels(slots)}
        if not carrying:
            return
        length = 0
        sources = tuple(source_axes)
        if isinstance(target, int) and self.has_input(target) and not self.is_constant[target]:
            length = self.size(target, 0) or 0
            if not length:
                raise DeclinedError("how many sizes it is given is not known")
            sources += tuple(s for element in self.shape_elements.get(target, ()) for s in element.sources)
        self.records.sizes.append(SizeRecord(target, carrying, {}, length, sources))

    def freeze_sizes(self, i: int) -> None:
        """Sizes that input ``i`` reads and no rule took over keep their value; where it is not known, its axes stay."""
        recorded = {e for size in self.records.sizes if size.target == i for e in (*size.counts, *size.fixed)}
        dims = shapes.get_dims(self.node.inputs[i])
        rank = None if dims is None else len(dims)
        fixed: dict[int, int] = {}
        sources: list[np.ndarray] = []
        for e, element in enumerate(self.shape_elements[i]):
            if e in recorded or not element.sources:
                continue
            if isinstance(element.value, int) and rank is not None and rank < 2:
                fixed[e] = element.value
                sources += element.sources
            else:
                for slots in element.sources:
                    self.pin(slots, "its size is computed with at run time")
        if fixed:
            self.records.sizes.append(SizeRecord(i, {}, fixed, len(self.shape_elements[i]), tuple(sources)))

    def record_remap(self, i: int, slots: np.ndarray) -> None:
        """Constant input ``i`` holds positions along an axis with these ``slots``."""
        self.records.remaps.append((i, slots))

    # when the rule is done

    def finish(self) -> None:
        """Pin what the rule did not mention, and check what it did."""
        for axes, mentioned in zip(self.operands, self._mentioned, strict=True):
            for axis, seen in zip(axes or (), mentioned, strict=True):
                if not seen:
                    self.pin(axis, f"{self.node.op_type} cannot lose slots of this axis")
        for k, output_axes in enumerate(self.outputs):
            dims = shapes.get_dims(self.node.outputs[k])
            if output_axes is None or dims is None:
                continue
            if len(dims) != len(output_axes):
                raise DeclinedError("the inferred shape is another")
            for a, (axis, size) in enumerate(zip(output_axes, dims, strict=True)):
                if isinstance(axis, str):
                    if isinstance(size, int):
                        self.pin(axis, "its size turns out to be fixed")
                        output_axes[a] = self.fixed_slots(size)
                elif isinstance(size, int) and size != len(axis):
                    raise DeclinedError("the inferred shape is another")
                elif len(axis) == 1 and axis.any():
                    self.pin(axis, "it is the only one on its axis")
                    output_axes[a] = self.fixed_slots(1)

    def pin_all(self, reason: str) -> None:
        """Pin everything that the node touches."""
        self.records = RuleRecords()
        for axes in self.operands:
            for axis in axes or ():
                self.pin(axis, reason)
        self.operands = [None] * len(self.operands)
        for k, value in enumerate(self.node.outputs):
            dims = shapes.get_dims(value)
            self.outputs[k] = None if dims is None else [self.trace.new_axis(dim) for dim in dims]
            for axis in self.outputs[k] or ():
                self.pin(axis, reason)
