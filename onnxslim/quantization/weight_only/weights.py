"""Weights that can be stored in fewer bits, whatever layer reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import Skipped
from onnxslim.graph.constants import get_const_array, iter_initializers
from onnxslim.graph.layers import LAYER_OPS, get_output_axis
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS

#: (op type, input) → the axes of its weights that have a scale each: the outputs, where they are known.
_SCALE_AXES: dict[tuple[str, int], tuple[int, ...]] = {
    ("Transpose", 0): (0,),
    ("MatMul", 0): (-2,),
    ("Gather", 0): (0,),
    **{(op, index): (0, 1) for op in ("LSTM", "GRU", "RNN") for index in (1, 2)},
}


@dataclass(frozen=True, eq=False)
class WeightTensor:
    """One float32 initializer.

    Attributes:
        value: The initializer.
        array: What it holds.
        scale_axes: The axes that have a scale for each index; the others share one.
    """

    value: ir.Value
    array: np.ndarray
    scale_axes: tuple[int, ...]

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """The shape of the scales as they broadcast against the array."""
        return tuple(size if axis in self.scale_axes else 1 for axis, size in enumerate(self.array.shape))

    def split_by_scale(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """The array as (scales, values of each), and how something of that shape becomes the array's again."""
        shared_axes = tuple(axis for axis in range(self.array.ndim) if axis not in self.scale_axes)
        transposed = self.array.transpose(*self.scale_axes, *shared_axes)
        order = np.argsort([*self.scale_axes, *shared_axes])
        flat = transposed.reshape(math.prod(self.scale_shape), -1)
        return flat, lambda found: found.reshape(transposed.shape).transpose(order)


def find_weight_tensors(model: ir.Model, exclude: Sequence[str] = ()) -> tuple[list[WeightTensor], list[Skipped]]:
    """The weights of at least :data:`~onnxslim.quantization.linear_layers.MIN_WEIGHT_ELEMENTS` elements that layers
    read, and the others as far as they are large enough to matter.
    """
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for _, name, value in iter_initializers(model):
        array = get_const_array(value)
        if (
            array is None
            or array.dtype != np.float32
            or array.ndim < 2
            or array.size < MIN_WEIGHT_ELEMENTS
            or not value.uses()
        ):
            continue
        uses = [(use.node, use.idx) for use in value.uses()]
        if any(re.fullmatch(pattern, node.name or "") for pattern in exclude for node, _ in uses):
            skipped.append(Skipped(name, "it was excluded"))
            continue
        axes = {_get_scale_axes(node, index) for node, index in uses}
        first = next(iter(axes))
        if None in axes or first is None:
            op = next(node.op_type for node, index in uses if _get_scale_axes(node, index) is None)
            skipped.append(Skipped(name, f"{op} reads it, which is no layer"))
        elif value.is_graph_output():
            skipped.append(Skipped(name, "it is an output of the model"))
        else:
            # layers that disagree about the outputs' axis (a tied table) share one along the first
            scale_axes = first if len(axes) == 1 else (0,)
            tensors.append(WeightTensor(value, array, tuple(axis % array.ndim for axis in scale_axes)))
    return tensors, skipped


def _get_scale_axes(node: ir.Node, index: int) -> tuple[int, ...] | None:
    if index == 1 and node.op_type in LAYER_OPS and not node.domain:
        return (get_output_axis(node),)
    return None if node.domain else _SCALE_AXES.get((node.op_type, index))
