"""Outputs that are several things in one tensor, as detectors join boxes in pixels and scores from 0 to 1.

Their error has to be looked at apart: boxes are nearly all of the energy, and scores may be gone before it shows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor

#: Steps that are looked back: a head is joined in two or three, and a file may hold a chain of any length.
_MAX_DEPTH = 8


@dataclass(frozen=True)
class OutputParts:
    """Where a tensor is put together.

    Attributes:
        axis: Along which, counted from the last axis: -1, -2, …
        ends: Where each part ends, the last at the tensor's size there.
    """

    axis: int
    ends: tuple[int, ...]

    def split(self, array: np.ndarray) -> list[np.ndarray]:
        """The parts of ``array``."""
        return np.split(array, self.ends[:-1], self.axis)

    def name_parts(self, name: str) -> list[str]:
        """What to call the parts of the tensor ``name``."""
        return [f"{name}[{start}:{stop}]" for start, stop in itertools.pairwise((0, *self.ends))]


def find_output_parts(value: ir.Value, max_depth: int = _MAX_DEPTH) -> OutputParts | None:
    """Which parts ``value`` was joined from, or None.

    Tensors that are joined from alike parts and then with each other, as a detector's scales are, have those parts.

    Args:
        value: Of a model whose shapes are inferred.
        max_depth: Nodes to look back.
    """
    node = value.producer()
    if node is None or node.domain or not max_depth:
        return None
    if node.op_type == "Concat":
        return _find_concat_parts(node, max_depth - 1)
    if node.op_type not in ("Transpose", "Reshape") or node.inputs[0] is None:
        return None
    input_parts = find_output_parts(node.inputs[0], max_depth - 1)
    return None if input_parts is None else _move_parts(node, input_parts)


def _find_concat_parts(node: ir.Node, max_depth: int) -> OutputParts | None:
    input_parts = {
        find_output_parts(value, max_depth)
        for value in dict.fromkeys(node.inputs)
        if value is not None and get_const_tensor(value) is None
    }
    sizes = [shapes.get_dims(value) for value in node.inputs if value is not None]
    rank = len(sizes[0] or ())
    axis = node.attributes.get_int("axis", 0)
    axis -= rank if axis >= 0 else 0
    if len(input_parts) == 1 and (shared_parts := input_parts.pop()) is not None and shared_parts.axis != axis:
        return shared_parts
    lengths = [size[axis] if size is not None and len(size) == rank else None for size in sizes]
    known_lengths = [length for length in lengths if isinstance(length, int)]
    if not rank or len(known_lengths) < len(lengths) or len(known_lengths) < 2:
        return None
    return OutputParts(axis, tuple(itertools.accumulate(known_lengths)))


def _move_parts(node: ir.Node, input_parts: OutputParts) -> OutputParts | None:
    """Where the parts are behind a Transpose, or a Reshape that leaves their axis as it is."""
    input_shape = shapes.get_dims(node.inputs[0]) if node.inputs[0] is not None else None
    output_shape = shapes.get_dims(node.outputs[0])
    if input_shape is None or output_shape is None:
        return None
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm", tuple(reversed(range(len(input_shape)))))
        return OutputParts(list(order).index(len(input_shape) + input_parts.axis) - len(input_shape), input_parts.ends)
    # rows and columns become cells: their axis is where it was as long as all axes before it are, or all behind it
    place = len(input_shape) + input_parts.axis
    before, behind = input_shape[: place + 1], input_shape[place:]
    if None not in before and output_shape[: place + 1] == before:
        return OutputParts(place - len(output_shape), input_parts.ends)
    if None not in behind and output_shape[-len(behind) :] == behind:
        return input_parts
    return None
