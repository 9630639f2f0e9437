"""What a rule sees of its node: the axes of its operands, and verbs to relate them.

A rule mentions an operand's axis by :meth:`Op.axis` or :meth:`Op.join`; every axis that it does not mention stays as it
is (is pinned). So a rule is right as soon as what it does say is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import overload

import numpy as np
import onnx_ir as ir

from onnxslim.channels.node import DeclinedError, Node
from onnxslim.channels.record import Counted, Known, Records
from onnxslim.channels.trace import Axes, Axis, Trace, carries
from onnxslim.graph import shapes


class Op(Node):
    """One node with the slots of its operands, as its rule relates them."""

    def __init__(self, node: ir.Node, trace: Trace, known: Known) -> None:
        super().__init__(node, trace, known)
        self.records = Records()
        self.outputs: list[Axes | None] = [None] * len(node.outputs)
        self._mentioned = [[False] * len(axes or ()) for axes in self.operands]

    # relations

    def axis(self, i: int, a: int) -> Axis:
        """Axis ``a`` (may be negative) of input ``i``."""
        a = self.positive(a, self.rank(i))
        axes = self.operands[i]
        assert axes is not None
        self._mentioned[i][a] = True
        axis = axes[a]
        if axis is None:  # a constant's, not yet anything
            axis = axes[a] = self.trace.fresh(self.size(i, a) or 0)
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
        a = self.positive(a, self.rank(i))
        axes = self.operands[i]
        assert axes is not None
        if axes[a] is None and isinstance(slots, np.ndarray) and self.size(i, a) == len(slots):
            axes[a] = slots
            self._mentioned[i][a] = True
            return slots
        return self.tie(slots, self.axis(i, a))

    def tie(self, one: Axis, two: Axis) -> Axis:
        """Two axes are the same channels."""
        if isinstance(one, np.ndarray) and isinstance(two, np.ndarray) and len(one) != len(two):
            raise DeclinedError(f"axes of {len(one)} and {len(two)} do not match")
        return self.trace.tie(one, two, self.name)

    def pin(self, slots: Axis | None, why: str) -> None:
        """``slots`` stay."""
        self.trace.pin(slots, why, self.name)

    def fresh(self, size: int) -> np.ndarray:
        """New channels."""
        return self.trace.fresh(size)

    @overload
    def still(self, size: int) -> np.ndarray: ...

    @overload
    def still(self, size: str) -> str: ...

    def still(self, size: int | str) -> Axis:
        """Positions, which never go."""
        return self.trace.still(size) if isinstance(size, int) else size

    def split(self, slots: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """An axis reshaped to ``sizes``."""
        return self.trace.split(slots, sizes)

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Neighbouring axes flattened into one."""
        return self.trace.merge(parts)

    def broadcast(self, inputs: Iterable[int]) -> Axes:
        """Join axes of several inputs as numpy broadcasts them: aligned at the end, a size of 1 joins nothing."""
        inputs = sorted(inputs, key=lambda i: self.constant[i])  # constants last: they take on what the others are
        rank = max((self.rank(i) for i in inputs), default=0)
        return [
            self.aligned([(i, self.rank(i) - back) for i in inputs if self.rank(i) >= back])
            for back in range(rank, 0, -1)
        ]

    def aligned(self, sides: Sequence[tuple[int, int]]) -> Axis:
        """Join (input, axis) pairs that broadcast against each other; returns the axis that results."""
        result: Axis | None = None
        for i, a in sides:
            if self.size(i, a) == 1:
                self.axis(i, a)
            else:
                result = self.axis(i, a) if result is None else self.join(i, a, result)
        return self.still(1) if result is None else result

    # results

    def out(self, k: int, axes: Sequence[Axis]) -> None:
        """Output ``k`` has these axes."""
        if k < len(self.outputs):
            self.outputs[k] = list(axes)

    def stay(self, k: int, skip: Mapping[int, Axis] | None = None) -> None:
        """Output ``k``, of input 0's rank, has the axes in ``skip`` and positions elsewhere."""
        if k < len(self.outputs):
            dims = self.known(k, self.rank(0) if skip else None)
            self.out(k, [(skip or {}).get(a, self.still(size)) for a, size in enumerate(dims)])

    def produce(self, weight: tuple[int, int], out: int, bias: tuple[int, int] | None = None) -> None:
        """The constant's axis ``weight`` = (input, axis) makes the channels of axis ``out`` of output 0."""
        if self.constant[weight[0]]:
            bias = bias if bias is not None and self.has(bias[0]) and self.constant[bias[0]] else None
            self.records.producers.append((weight, bias, 0, out))

    def consume(self, i: int, a: int, slots: Axis, weight: tuple[int, int]) -> None:
        """Channels ``slots`` of axis ``a`` of input ``i`` are summed away against ``weight`` = (input, axis)."""
        if carries(slots):
            self.records.consumers.append((i, a, slots, weight if self.constant[weight[0]] else None))

    def count(self, target: int | str, counts: Mapping[int, Axis], behind: Sequence[np.ndarray] = ()) -> None:
        """Element e of ``target`` (an input's position or an attribute) is the number of slots in ``counts[e]``.

        It is written again when one of them goes, or one of those ``behind`` it.
        """
        real = {e: slots for e, slots in counts.items() if carries(slots)}
        if not real:
            return
        length = 0
        sources = tuple(behind)
        if isinstance(target, int) and self.has(target) and not self.constant[target]:
            length = self.size(target, 0) or 0
            if not length:
                raise DeclinedError("how many sizes it is given is not known")
            sources += tuple(s for element in self.elements.get(target, ()) for s in element.sources)
        self.records.sizes.append(Counted(target, real, {}, length, sources))

    def freeze(self, i: int) -> None:
        """Sizes that input ``i`` reads and no rule took over keep their value; where it is not known, its axes stay."""
        counted = {e for size in self.records.sizes if size.target == i for e in (*size.counts, *size.fixed)}
        dims = shapes.dims(self.node.inputs[i])
        rank = None if dims is None else len(dims)
        fixed: dict[int, int] = {}
        sources: list[np.ndarray] = []
        for e, element in enumerate(self.elements[i]):
            if e in counted or not element.sources:
                continue
            if isinstance(element.value, int) and rank is not None and rank < 2:
                fixed[e] = element.value
                sources += element.sources
            else:
                for slots in element.sources:
                    self.pin(slots, "its size is computed with at run time")
        if fixed:
            self.records.sizes.append(Counted(i, {}, fixed, len(self.elements[i]), tuple(sources)))

    def remap(self, i: int, slots: np.ndarray) -> None:
        """Constant input ``i`` holds positions along an axis with these ``slots``."""
        self.records.remaps.append((i, slots))

    # when the rule is done

    def finish(self) -> None:
        """Pin what the rule did not mention, and check what it did."""
        for axes, mentioned in zip(self.operands, self._mentioned, strict=True):
            for axis, seen in zip(axes or (), mentioned, strict=True):
                if not seen:
                    self.pin(axis, f"{self.node.op_type} cannot lose slots of this axis")
        for k, found in enumerate(self.outputs):
            dims = shapes.dims(self.node.outputs[k])
            if found is None or dims is None:
                continue
            if len(dims) != len(found):
                raise DeclinedError("the inferred shape is another")
            for a, (axis, size) in enumerate(zip(found, dims, strict=True)):
                if isinstance(axis, str):
                    if isinstance(size, int):
                        self.pin(axis, "its size turns out to be fixed")
                        found[a] = self.still(size)
                elif isinstance(size, int) and size != len(axis):
                    raise DeclinedError("the inferred shape is another")
                elif len(axis) == 1 and axis.any():
                    self.pin(axis, "it is the only one on its axis")
                    found[a] = self.still(1)

    def give_up(self, why: str) -> None:
        """Pin everything that the node touches."""
        self.records = Records()
        for axes in self.operands:
            for axis in axes or ():
                self.pin(axis, why)
        self.operands = [None] * len(self.operands)
        for k, value in enumerate(self.node.outputs):
            dims = shapes.dims(value)
            self.outputs[k] = None if dims is None else [self._held(dim, why) for dim in dims]

    def _held(self, dim: int | str | None, why: str) -> Axis:
        axis: Axis = self.fresh(dim) if isinstance(dim, int) else dim or self.trace.unknown()
        self.pin(axis, why)
        return axis
