"""What a rule sees of its node: the axes of its operands, its attributes, and verbs to relate them.

A rule mentions an operand's axis by :meth:`Op.axis` or :meth:`Op.join`; every axis that it does not mention stays as it
is (is pinned). So a rule is right as soon as what it does say is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import onnx_ir as ir

from onnxslim.channels.trace import Axes, Axis, Trace
from onnxslim.graph import constants, shapes


class DeclinedError(Exception):
    """A rule gives up on its node, for the reason given: everything that the node touches is pinned."""


@dataclass
class Records:
    """What rules say besides relations, with slots instead of labels; the fields are those of ``units.py``."""

    consumers: list[tuple[int, int, np.ndarray, tuple[int, int] | None]] = field(default_factory=list)
    producers: list[tuple[tuple[int, int], tuple[int, int] | None, int, int]] = field(default_factory=list)
    sizes: list[tuple[int | str, dict[int, np.ndarray]]] = field(default_factory=list)
    remaps: list[tuple[int, np.ndarray]] = field(default_factory=list)


class Op:
    """One node with the slots of its operands."""

    def __init__(
        self, node: ir.Node, name: str, trace: Trace, known: Mapping[ir.Value, Axes | None], version: int
    ) -> None:
        self.node = node
        self.name = name
        self.version = version
        self.lossy = False
        self.records = Records()
        self.outputs: list[Axes | None] = [None] * len(node.outputs)
        self.operands: list[Axes | None] = []
        self.constant: list[bool] = []
        self.trace = trace
        self._mentioned: list[list[bool]] = []
        for value in node.inputs:
            tensor = constants.tensor(value)
            self.constant.append(tensor is not None)
            axes = known.get(value) if tensor is None and value is not None else None
            if tensor is not None:
                axes = [None if size != 1 else trace.still(1) for size in tensor.shape.numpy()]
            self.operands.append(axes)
            self._mentioned.append([False] * len(axes or ()))

    # what the node is

    def tensor(self, i: int) -> str:
        """The name of input ``i``."""
        value = self.node.inputs[i]
        return "" if value is None else value.name or ""

    def has(self, i: int) -> bool:
        """Whether input ``i`` is given."""
        return i < len(self.node.inputs) and self.node.inputs[i] is not None

    def given(self) -> list[int]:
        """Positions of the inputs that are given."""
        return [i for i in range(len(self.node.inputs)) if self.has(i)]

    def const(self, i: int) -> np.ndarray | None:
        """The array of a constant input, else None."""
        return constants.constant(self.node.inputs[i]) if self.has(i) else None

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def integers(self, name: str, i: int | None = None) -> list[int] | None:
        """A list of integers: an attribute in old opsets, else input ``i``; None when absent or not constant."""
        if name in self.node.attributes:
            return [int(v) for v in self.node.attributes[name].as_ints()]
        found = self.const(i) if i is not None else None
        return None if found is None else [int(v) for v in np.ravel(found)]

    def rank(self, i: int) -> int:
        """The rank of input ``i``."""
        axes = self.operands[i] if self.has(i) else None
        if axes is None:
            raise DeclinedError("a shape is not known")
        return len(axes)

    def size(self, i: int, a: int) -> int | None:
        """The size of axis ``a`` (not negative) of input ``i``, None where it is not known."""
        tensor = constants.tensor(self.node.inputs[i])
        if tensor is not None:
            return int(tensor.shape.numpy()[a])
        axis = (self.operands[i] or [])[a]
        return None if axis is None else len(axis)

    def known(self, k: int) -> tuple[int | str | None, ...]:
        """The inferred dimensions of output ``k``."""
        dims = shapes.dims(self.node.outputs[k])
        if dims is None:
            raise DeclinedError("a shape is not known")
        return dims

    def positive(self, axis: int, rank: int) -> int:
        """``axis`` counted from the front."""
        if not -rank <= axis < rank:
            raise DeclinedError(f"axis {axis} of {rank}")
        return axis % rank

    # relations

    def axis(self, i: int, a: int) -> Axis:
        """The slots of axis ``a`` (may be negative) of input ``i``."""
        axes = self.operands[i]
        if axes is None:
            raise DeclinedError("a shape is not known")
        a = self.positive(a, len(axes))
        self._mentioned[i][a] = True
        if axes[a] is None and self.constant[i]:
            axes[a] = self.trace.fresh(self.size(i, a) or 0)
        return axes[a]

    def axes(self, i: int) -> Axes:
        """The slots of all axes of input ``i``."""
        return [self.axis(i, a) for a in range(self.rank(i))]

    def join(self, i: int, a: int, slots: Axis) -> Axis:
        """Axis ``a`` of input ``i`` is the same channels as ``slots``."""
        axes = self.operands[i]
        if axes is None:
            raise DeclinedError("a shape is not known")
        a = self.positive(a, len(axes))
        if self.constant[i] and axes[a] is None and slots is not None:
            if self.size(i, a) != len(slots):
                raise DeclinedError(f"axes of {self.size(i, a)} and {len(slots)} do not match")
            axes[a] = slots
            self._mentioned[i][a] = True
            return slots
        return self.tie(slots, self.axis(i, a))

    def tie(self, one: Axis, two: Axis) -> Axis:
        """Two axes are the same channels."""
        if one is not None and two is not None and len(one) != len(two):
            raise DeclinedError(f"axes of {len(one)} and {len(two)} do not match")
        return self.trace.tie(one, two, self.name)

    def pin(self, slots: Axis, why: str) -> None:
        """``slots`` stay."""
        self.trace.pin(slots, why, self.name)

    def fresh(self, size: int) -> np.ndarray:
        """New channels."""
        return self.trace.fresh(size)

    @overload
    def still(self, size: int) -> np.ndarray: ...

    @overload
    def still(self, size: str | None) -> None: ...

    def still(self, size: int | str | None) -> Axis:
        """Positions, which never go."""
        return self.trace.still(size) if isinstance(size, int) else None

    def split(self, slots: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, ...]:
        """An axis reshaped to ``sizes``."""
        return self.trace.split(slots, sizes)

    def merge(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Neighbouring axes flattened into one."""
        return self.trace.merge(parts)

    def reshape(self, axes: Sequence[np.ndarray], sizes: Sequence[int]) -> list[np.ndarray] | None:
        """Axes regrouped to ``sizes``; None where that does not fit."""
        return self.trace.reshape(axes, sizes)

    def broadcast(self, inputs: Iterable[int]) -> Axes:
        """Join axes of several inputs as numpy broadcasts them: aligned at the end, a size of 1 joins nothing."""
        inputs = sorted(
            inputs, key=lambda i: self.constant[i]
        )  # constants last: they take the others' slots as they are
        rank = max((self.rank(i) for i in inputs), default=0)
        return [
            self.aligned([(i, self.rank(i) - back) for i in inputs if self.rank(i) >= back])
            for back in range(rank, 0, -1)
        ]

    def aligned(self, sides: Sequence[tuple[int, int]]) -> Axis:
        """Join (input, axis) pairs that broadcast against each other; returns the axis that results."""
        result: Axis = None
        started = False
        for i, a in sides:
            if self.size(i, a) == 1:
                self.axis(i, a)
                continue
            result = self.join(i, a, result) if started else self.axis(i, a)
            started = True
        return result if started else self.still(1)

    # results

    def out(self, k: int, axes: Sequence[Axis]) -> None:
        """Output ``k`` has these axes."""
        if k < len(self.outputs):
            self.outputs[k] = list(axes)

    def stay(self, k: int, skip: Mapping[int, Axis] | None = None) -> None:
        """Output ``k`` has the axes in ``skip`` and positions elsewhere."""
        if k < len(self.outputs):
            self.out(k, [(skip or {}).get(a, self.still(size)) for a, size in enumerate(self.known(k))])

    def produce(self, weight: tuple[int, int], out: int, bias: tuple[int, int] | None = None, output: int = 0) -> None:
        """The constant's axis ``weight`` = (input, axis) makes the channels of axis ``out`` of ``output``."""
        if self.constant[weight[0]]:
            bias = bias if bias is not None and self.has(bias[0]) and self.constant[bias[0]] else None
            self.records.producers.append((weight, bias, output, out))

    def consume(self, i: int, a: int, slots: Axis, weight: tuple[int, int]) -> None:
        """Channels ``slots`` of axis ``a`` of input ``i`` are summed away against ``weight`` = (input, axis)."""
        if slots is not None and slots.any():
            self.records.consumers.append((i, a, slots, weight if self.constant[weight[0]] else None))

    def count(self, target: int | str, counts: Mapping[int, Axis]) -> None:
        """Element e of ``target`` (an input's position or an attribute) is the number of slots in ``counts[e]``."""
        real = {e: slots for e, slots in counts.items() if slots is not None and slots.any()}
        if real:
            self.records.sizes.append((target, real))

    def remap(self, i: int, slots: np.ndarray) -> None:
        """Constant input ``i`` holds positions along an axis with these ``slots``."""
        self.records.remaps.append((i, slots))

    # when the rule is done

    def finish(self) -> None:
        """Pin what the rule did not mention, and check what it did."""
        for axes, mentioned, constant in zip(self.operands, self._mentioned, self.constant, strict=True):
            for axis, seen in zip(axes or (), mentioned, strict=True):
                if not seen and not constant:
                    self.pin(axis, f"{self.node.op_type} cannot lose slots of this axis")
        for k, axes in enumerate(self.outputs):
            if axes is None:
                continue
            dims = shapes.dims(self.node.outputs[k])
            if dims is not None and len(dims) != len(axes):
                raise DeclinedError("the inferred shape is another")
            for a, axis in enumerate(axes):
                size = dims[a] if dims is not None else None
                if axis is not None and isinstance(size, int) and size != len(axis):
                    raise DeclinedError("the inferred shape is another")
                if axis is not None and len(axis) == 1 and axis.any():
                    self.pin(axis, "it is the only one on its axis")
                    axes[a] = self.trace.still(1)

    def give_up(self, why: str) -> None:
        """Pin everything that the node touches."""
        self.records = Records()
        for axes in self.operands:
            for axis in axes or ():
                self.pin(axis, why)
        for k, value in enumerate(self.node.outputs):
            dims = shapes.dims(value)
            self.outputs[k] = None if dims is None else [self.fresh(d) if isinstance(d, int) else None for d in dims]
            for axis in self.outputs[k] or ():
                self.pin(axis, why)
        self.operands = [None] * len(self.operands)
