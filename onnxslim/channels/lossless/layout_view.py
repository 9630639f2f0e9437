"""What a transfer of facts sees of its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.channels.lossless.facts import BaseAllocator, ChannelFacts
from onnxslim.graph import constants, shapes


class NodeView:
    """What a transfer sees of its node."""

    def __init__(self, node: ir.Node, facts: Mapping[ir.Value, ChannelFacts], bases: BaseAllocator) -> None:
        self.node = node
        self.bases = bases
        self._facts = facts

    def const(self, i: int) -> np.ndarray | None:
        """A constant input as float64, else None."""
        if i >= len(self.node.inputs) or self.node.inputs[i] is None:
            return None
        array = constants.get_const_array(self.node.inputs[i])
        return None if array is None else np.asarray(array, np.float64)

    def input_facts(self, i: int, axis: int | None = None) -> ChannelFacts | None:
        """What is known of input ``i`` (along ``axis``)."""
        value = self.node.inputs[i] if i < len(self.node.inputs) else None
        known_facts = self._facts.get(value) if value is not None else None
        return known_facts if known_facts is not None and axis in (None, known_facts.axis) else None

    def input_dims(self, i: int) -> tuple[int | str | None, ...]:
        """The dimensions of input ``i``, () where not even the rank is known."""
        return shapes.get_dims(self.node.inputs[i]) or ()

    def output_dims(self) -> tuple[int | str | None, ...]:
        """The dimensions of output 0."""
        return shapes.get_dims(self.node.outputs[0]) or ()

    def get_int(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def get_float(self, name: str, default: float) -> float:
        """A float attribute."""
        return self.node.attributes.get_float(name, default)


#: What a node says of the channels of its output 0; None says that nothing is known, which is always right.
Transfer = Callable[[NodeView], ChannelFacts | None]


def has_padding(node: ir.Node) -> bool:
    """Whether a convolution or a pooling sees zeros beyond the border."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    return any(pads) if mode in ("NOTSET", "") else mode != "VALID"
