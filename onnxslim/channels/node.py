"""What a node is: its attributes, its constants, the shapes of its operands."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.channels.record import Element, Known
from onnxslim.channels.trace import Axis, Trace
from onnxslim.graph import constants, shapes


class DeclinedError(Exception):
    """A rule gives up on its node, for the reason given: everything that the node touches is pinned."""


class Node:
    """A node, its attributes, and the axes of its operands as they came in."""

    def __init__(self, node: ir.Node, trace: Trace, known: Known) -> None:
        self.node = node
        self.name = node.name or node.op_type
        self.trace = trace
        self.version = known.version
        self.lossy = known.lossy
        self.operands: list[list[Axis | None] | None] = []
        self.constant: list[bool] = []
        self.elements: dict[int, list[Element]] = {}
        for i, value in enumerate(node.inputs):
            tensor = constants.tensor(value)
            self.constant.append(tensor is not None)
            axes: list[Axis | None] | None = None
            if tensor is not None:
                axes = [None if size != 1 else trace.still(1) for size in tensor.shape.numpy()]
            elif value is not None:
                found = known.axes.get(value)
                axes = None if found is None else [*found]
                if value in known.elements:
                    self.elements[i] = known.elements[value]
            self.operands.append(axes)

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

    def more(self) -> bool:
        """Whether anything but output 0 is used."""
        return any(value.uses() or value.is_graph_output() for value in self.node.outputs[1:])

    def const(self, i: int) -> np.ndarray | None:
        """The array of a constant input, else None."""
        return constants.constant(self.node.inputs[i]) if self.has(i) else None

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.attributes.get_string(name, default)

    def numbers(self, i: int, name: str = "") -> list[int | str] | None:
        """Integers of attribute ``name`` (old opsets), else of input ``i``: names for those only known at run time.

        None when neither is given or nothing is known of the input.
        """
        if name in self.node.attributes:
            return [int(v) for v in self.node.attributes[name].as_ints()]
        found = self.const(i)
        if found is not None:
            return [int(v) for v in np.ravel(found)]
        return [element.value for element in self.elements[i]] if i in self.elements else None

    def integers(self, i: int, name: str = "") -> list[int] | None:
        """The same, where every one of them is known."""
        found = self.numbers(i, name)
        known = [v for v in found or () if isinstance(v, int)]
        return known if found is not None and len(known) == len(found) else None

    def rank(self, i: int) -> int:
        """The rank of input ``i``."""
        axes = self.operands[i] if self.has(i) else None
        if axes is None:
            raise DeclinedError("a shape is not known")
        return len(axes)

    def size(self, i: int, a: int) -> int | None:
        """The size of axis ``a`` of input ``i``, None where it is not known."""
        tensor = constants.tensor(self.node.inputs[i])
        if tensor is not None:
            return int(tensor.shape.numpy()[a])
        axis = (self.operands[i] or [])[a]
        return len(axis) if isinstance(axis, np.ndarray) else None

    def known(self, k: int, rank: int | None = None) -> list[int | str]:
        """The inferred dimensions of output ``k``; nothing but its ``rank`` where that is all that is known."""
        dims = shapes.dims(self.node.outputs[k])
        if dims is None:
            if rank is None:
                raise DeclinedError("a shape is not known")
            dims = (None,) * rank
        return [self.trace.unknown() if dim is None else dim for dim in dims]

    def positive(self, axis: int, rank: int) -> int:
        """``axis`` counted from the front."""
        if not -rank <= axis < rank:
            raise DeclinedError(f"axis {axis} of {rank}")
        return axis % rank
