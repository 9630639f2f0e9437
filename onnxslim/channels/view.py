"""What a transfer of facts sees of its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.channels.facts import Bases, Facts
from onnxslim.graph import constants, shapes


class View:
    """What a transfer sees of its node."""

    def __init__(self, node: ir.Node, known: Mapping[ir.Value, Facts], bases: Bases) -> None:
        self.node = node
        self.bases = bases
        self._known = known

    def const(self, i: int) -> np.ndarray | None:
        """A constant input as float64, else None."""
        if i >= len(self.node.inputs) or self.node.inputs[i] is None:
            return None
        found = constants.constant(self.node.inputs[i])
        return None if found is None else np.asarray(found, np.float64)

    def facts(self, i: int, axis: int | None = None) -> Facts | None:
        """What is known of input ``i`` (along ``axis``)."""
        value = self.node.inputs[i] if i < len(self.node.inputs) else None
        found = self._known.get(value) if value is not None else None
        return found if found is not None and axis in (None, found.axis) else None

    def dims(self, i: int) -> tuple[int | str | None, ...]:
        """The dimensions of input ``i``, () where not even the rank is known."""
        return shapes.dims(self.node.inputs[i]) or ()

    def out(self) -> tuple[int | str | None, ...]:
        """The dimensions of output 0."""
        return shapes.dims(self.node.outputs[0]) or ()

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self.node.attributes.get_int(name, default)

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return self.node.attributes.get_float(name, default)


#: What a node says of the channels of its output 0; None says that nothing is known, which is always right.
Transfer = Callable[[View], Facts | None]


def padded(node: ir.Node) -> bool:
    """Whether a convolution or a pooling sees zeros beyond the border."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else ()
    return any(pads) if mode in ("NOTSET", "") else mode != "VALID"
