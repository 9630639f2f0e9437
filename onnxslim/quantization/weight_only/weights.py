"""Weights that can be stored in fewer bits, whatever layer reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import Skipped
from onnxslim.graph.constants import get_const_tensor, iter_initializers
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.finite_weights import is_finite
from onnxslim.graph.layers import LAYER_OPS, get_output_axis
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS, NOT_FINITE_REASON

#: (op type, input) → the axes of its weights that have a scale each: the outputs, where they are known.
_SCALE_AXES: dict[tuple[str, int], tuple[int, ...]] = {
    ("Transpose", 0): (0,),
    ("MatMul", 0): (-2,),
    ("Gather", 0): (0,),
    **{(op, index): (0, 1) for op in ("LSTM", "GRU", "RNN") for index in (1, 2)},
    ("com.microsoft.Attention", 1): (-1,),
    ("com.microsoft.FusedConv", 1): (0,),
}


_SCALE_BYTES = 4  # float32


@dataclass(frozen=True, eq=False)
class WeightTensor:
    """One initializer of floats.

    Attributes:
        value: The initializer, of any float type.
        array: What it holds, in float32.
        scale_axes: The axes that have a scale for each index; the others share one.
    """

    value: ir.Value
    array: np.ndarray
    scale_axes: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes as it is stored."""
        tensor = self.value.const_value
        assert tensor is not None
        return tensor.nbytes

    def replace(self, editor: GraphEditor, expanded: ir.Value, before: ir.Node) -> None:
        """Let whoever reads it read ``expanded``, float32, as the type that it has; it goes."""
        assert self.value.dtype is not None
        if self.value.dtype != ir.DataType.FLOAT:
            expanded = editor.add_cast(
                expanded, self.value.dtype, before=before, name=f"{self.value.name}_{self.value.dtype}"
            )
        editor.replace_value(self.value, expanded, is_new=False)
        editor.remove_unread([self.value])

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
        tensor = get_const_tensor(value)
        if tensor is None or tensor.dtype not in FLOAT_TYPES or tensor.size < MIN_WEIGHT_ELEMENTS or not value.uses():
            continue
        array = tensor.numpy().astype(np.float32, copy=False)
        if array.ndim < 2:
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
        elif not is_finite(array):
            skipped.append(Skipped(name, NOT_FINITE_REASON))
        else:
            # layers that disagree about the outputs' axis (a tied table) share one along the first
            scale_axes = first if len(axes) == 1 else (0,)
            weight_tensor = WeightTensor(value, array, tuple(axis % array.ndim for axis in scale_axes))
            if array.size + _SCALE_BYTES * math.prod(weight_tensor.scale_shape) < weight_tensor.nbytes:
                tensors.append(weight_tensor)
            else:
                skipped.append(Skipped(name, "a scale for each output would weigh more than codes save"))
    return tensors, skipped


def _get_scale_axes(node: ir.Node, index: int) -> tuple[int, ...] | None:
    if index == 1 and node.op_type in LAYER_OPS and not node.domain:
        return (get_output_axis(node),)
    if node.op_type == "Einsum" and not node.domain:
        return _get_einsum_axes(node, index)
    if node.op_type in ("FusedMatMul", "FusedGemm") and node.domain == "com.microsoft" and index == 1:
        return (-2,) if node.attributes.get_int("transB", 0) else (-1,)
    return _SCALE_AXES.get((f"{node.domain}.{node.op_type}" if node.domain else node.op_type, index))


def _get_einsum_axes(node: ir.Node, index: int) -> tuple[int, ...] | None:
    """The axes of an Einsum's constant that only it and the output have: those of a layer's outputs."""
    terms, _, output = node.attributes.get_string("equation", "").replace(" ", "").partition("->")
    own, *others = [terms.split(",")[index], *(term for i, term in enumerate(terms.split(",")) if i != index)]
    axes = tuple(axis for axis, letter in enumerate(own) if letter in output and not any(letter in term for term in others))
    return axes[:1] if axes and "." not in own else None
