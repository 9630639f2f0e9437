"""Outputs that are several things in one tensor, as detectors join boxes in pixels and scores from 0 to 1.

Their error has to be looked at apart: boxes are nearly all of the energy, and scores may be gone before it shows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import constant

#: Steps that are looked back: a head is joined in two or three, and a file may hold a chain of any length.
_STEPS = 8


@dataclass(frozen=True)
class Parts:
    """Where a tensor is put together.

    Attributes:
        axis: Along which, counted from the last axis: -1, -2, …
        stops: Where each part ends, the last at the tensor's size there.
    """

    axis: int
    stops: tuple[int, ...]

    def of(self, array: np.ndarray) -> list[np.ndarray]:
        """The parts of ``array``."""
        return np.split(array, self.stops[:-1], self.axis)

    def named(self, name: str) -> list[str]:
        """What to call the parts of the tensor ``name``."""
        return [f"{name}[{start}:{stop}]" for start, stop in itertools.pairwise((0, *self.stops))]


def parts(value: ir.Value, steps: int = _STEPS) -> Parts | None:
    """Which parts ``value`` was joined from, or None.

    Tensors that are joined from alike parts and then with each other, as a detector's scales are, have those parts.

    Args:
        value: Of a model whose shapes are inferred.
        steps: Nodes to look back.
    """
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx") or not steps:
        return None
    if node.op_type == "Concat":
        return _joined(node, steps - 1)
    if node.op_type not in ("Transpose", "Reshape") or node.inputs[0] is None:
        return None
    inner = parts(node.inputs[0], steps - 1)
    return None if inner is None else _moved(node, inner)


def _joined(node: ir.Node, steps: int) -> Parts | None:
    inner = {parts(value, steps) for value in dict.fromkeys(node.inputs) if value is not None and constant(value) is None}
    sizes = [shapes.dims(value) for value in node.inputs if value is not None]
    rank = len(sizes[0] or ())
    axis = node.attributes.get_int("axis", 0)
    axis -= rank if axis >= 0 else 0
    if len(inner) == 1 and (same := inner.pop()) is not None and same.axis != axis:
        return same
    along = [size[axis] if size is not None and len(size) == rank else None for size in sizes]
    known = [length for length in along if isinstance(length, int)]
    if not rank or len(known) < len(along) or len(known) < 2:
        return None
    return Parts(axis, tuple(itertools.accumulate(known)))


def _moved(node: ir.Node, inner: Parts) -> Parts | None:
    """Where the parts are behind a Transpose, or a Reshape that leaves the last axis alone."""
    before = shapes.dims(node.inputs[0]) if node.inputs[0] is not None else None
    after = shapes.dims(node.outputs[0])
    if before is None or after is None:
        return None
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm", tuple(reversed(range(len(before)))))
        return Parts(list(order).index(len(before) + inner.axis) - len(before), inner.stops)
    return inner if inner.axis == -1 and after[-1] == before[-1] == inner.stops[-1] else None
