"""What a node is: its attributes, its constants, the shapes of its operands."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.channels.slots.rule_records import ShapeElement, WalkState
from onnxslim.channels.slots.slot_tracing import Axis, SlotTrace
from onnxslim.graph import constants, shapes

#: What a node that its rule does not expect (a malformed attribute, a wrong inferred shape) ends in: it must not end it all.
UNEXPECTED_NODE_ERRORS = (ValueError, IndexError, KeyError, TypeError, AssertionError, ZeroDivisionError)


class DeclinedError(Exception):
    """A rule gives up on its node, for the reason given: everything that the node touches is pinned."""


class Node:
    """A node, its attributes, and the axes of its operands as they came in."""

    def __init__(self, node: ir.Node, trace: SlotTrace, state: WalkState) -> None:
        self.node = node
        self.name = node.name or node.op_type
        self.trace = trace
        self.opset = state.opset
        self.lossy = state.lossy
        self.operands: list[list[Axis | None] | None] = []
        self.is_constant: list[bool] = []
        self.shape_elements: dict[int, list[ShapeElement]] = {}
        for i, value in enumerate(node.inputs):
            tensor = constants.get_const_tensor(value)
            is_text = tensor is not None and tensor.dtype == ir.DataType.STRING
            self.is_constant.append(tensor is not None and not is_text)
            axes: list[Axis | None] | None = None
            if tensor is not None:
                # texts are never cut: what is compared with them stays
                axes = [None if size != 1 and not is_text else trace.fixed_slots(size) for size in tensor.shape.numpy()]
            elif value is not None:
                known_axes = state.axes.get(value)
                axes = None if known_axes is None else [*known_axes]
                if value in state.shape_elements:
                    self.shape_elements[i] = state.shape_elements[value]
            self.operands.append(axes)

    def input_name(self, i: int) -> str:
        """The name of input ``i``."""
        value = self.node.inputs[i]
        return "" if value is None else value.name or ""

    def has_input(self, i: int) -> bool:
        """Whether input ``i`` is given."""
        return i < len(self.node.inputs) and self.node.inputs[i] is not None

    def given_inputs(self) -> list[int]:
        """Positions of the inputs that are given."""
        return [i for i in range(len(self.node.inputs)) if self.has_input(i)]

    def has_extra_outputs(self) -> bool:
        """Whether anything but output 0 is used."""
        return any(value.uses() or value.is_graph_output() for value in self.node.outputs[1:])

    def const(self, i: int) -> np.ndarray | None:
        """The array of a constant input, else None."""
        return constants.get_const_array(self.node.inputs[i]) if self.has_input(i) else None

    def get_int(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def get_string(self, name: str, default: str) -> str:
        """A string attribute."""
        return self.node.attributes.get_string(name, default)

    def read_symbolic_ints(self, i: int, name: str = "") -> list[int | str] | None:
        """Integers of attribute ``name`` (old opsets), else of input ``i``: names for those only known at run time.

        None when neither is given or nothing is known of the input.
        """
        if name in self.node.attributes:
            return [int(v) for v in self.node.attributes[name].as_ints()]
        array = self.const(i)
        if array is not None:
            return [int(v) for v in np.ravel(array)]
        return [element.value for element in self.shape_elements[i]] if i in self.shape_elements else None

    def read_ints(self, i: int, name: str = "") -> list[int] | None:
        """The same, where every one of them is known."""
        values = self.read_symbolic_ints(i, name)
        known = [v for v in values or () if isinstance(v, int)]
        return known if values is not None and len(known) == len(values) else None

    def rank(self, i: int) -> int:
        """The rank of input ``i``."""
        axes = self.operands[i] if self.has_input(i) else None
        if axes is None:
            raise DeclinedError("a shape is not known")
        return len(axes)

    def size(self, i: int, a: int) -> int | None:
        """The size of axis ``a`` of input ``i``, None where it is not known."""
        tensor = constants.get_const_tensor(self.node.inputs[i])
        if tensor is not None:
            return int(tensor.shape.numpy()[a])
        axis = (self.operands[i] or [])[a]
        return len(axis) if isinstance(axis, np.ndarray) else None

    def output_dims(self, k: int, rank: int | None = None) -> list[int | str]:
        """The inferred dimensions of output ``k``; nothing but its ``rank`` where that is all that is known."""
        dims = shapes.get_dims(self.node.outputs[k])
        if dims is None:
            if rank is None:
                raise DeclinedError("a shape is not known")
            dims = (None,) * rank
        return [self.trace.new_symbolic_dim() if dim is None else dim for dim in dims]

    def normalize_axis(self, axis: int, rank: int) -> int:
        """``axis`` counted from the front."""
        if not -rank <= axis < rank:
            raise DeclinedError(f"axis {axis} of {rank}")
        return axis % rank
