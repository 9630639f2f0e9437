"""Weights that can be stored in fewer bits, whatever layer reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import Skipped
from onnxslim.graph.constants import get_const_tensor, iter_initializers
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.finite_weights import is_finite
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS, NOT_FINITE_REASON
from onnxslim.quantization.weight_only.weight_readers import find_scale_axes

#: Bytes that two nodes, a tensor of codes and one of scales take in the file beside their numbers, names being short.
OVERHEAD_BYTES = 150
#: A weight must come down to this share of its bytes: less is not worth an error.
_MAX_BYTES_SHARE = 0.75
#: Elements that no scale and no overhead leaves enough of.
_MIN_ELEMENTS = 64
_SCALE_BYTES = 4  # float32


@dataclass(frozen=True, eq=False)
class WeightTensor:
    """One constant of floats.

    Attributes:
        value: The initializer or Constant, of any float type.
        array: What it holds, in float32.
        scale_axes: The axes that have a scale for each index; the others share one.
        other_axes: Axes that could have them instead.
    """

    value: ir.Value
    array: np.ndarray
    scale_axes: tuple[int, ...]
    other_axes: tuple[tuple[int, ...], ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes that it takes as it is stored."""
        tensor = get_const_tensor(self.value)
        assert tensor is not None
        return tensor.nbytes

    def replace(self, editor: GraphEditor, expanded: ir.Value, before: ir.Node) -> None:
        """Let whoever reads it read ``expanded``, float32, as the type that it has; it goes."""
        tensor = get_const_tensor(self.value)
        assert tensor is not None
        if tensor.dtype != ir.DataType.FLOAT:
            expanded = editor.add_cast(expanded, tensor.dtype, before=before, name=f"{self.value.name}_{tensor.dtype}")
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
    """The weights that layers read, in any graph of ``model``, and the others as far as they are large enough to matter.

    A weight counts where codes, scales and the nodes that expand them take a good part less than it does.
    """
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for value in _iter_constants(model):
        tensor, name = get_const_tensor(value), str(value.name)
        if tensor is None or tensor.dtype not in FLOAT_TYPES or tensor.size < _MIN_ELEMENTS or not value.uses():
            continue
        array = tensor.numpy().astype(np.float32, copy=False)
        if array.ndim < 2 or any(use.node.op_type == "MatMulNBits" for use in value.uses()):  # the scales of its blocks
            continue
        found = _choose_axes(value, array, tensor.nbytes, exclude)
        if isinstance(found, str):
            if tensor.size >= MIN_WEIGHT_ELEMENTS:
                skipped.append(Skipped(name, found))
        else:
            tensors.append(WeightTensor(value, array, found[0], tuple(found[1:])))
    return tensors, skipped


def _choose_axes(value: ir.Value, array: np.ndarray, nbytes: int, exclude: Sequence[str]) -> list[tuple[int, ...]] | str:
    """The axes that may have scales, the one to prefer first; or why the weight stays as it is."""
    if any(re.fullmatch(pattern, use.node.name or "") for pattern in exclude for use in value.uses()):
        return "it was excluded"
    if value.is_graph_output():
        return "it is an output of the model"
    if isinstance(all_axes := find_scale_axes(value, array), str):
        return all_axes
    if not is_finite(array):
        return NOT_FINITE_REASON
    paying = [axes for axes in all_axes if _pays(nbytes, array.shape, axes)]
    return paying or "a scale for each output would weigh more than codes save"


def _iter_constants(model: ir.Model) -> Iterator[ir.Value]:
    """Initializers and what Constant nodes make, of all graphs."""
    yield from (value for _, _, value in iter_initializers(model))
    yield from (node.outputs[0] for node in model.graph.all_nodes() if node.op_type == "Constant" and not node.domain)


def _pays(nbytes: int, shape: Sequence[int], scale_axes: Sequence[int]) -> bool:
    scale_bytes = _SCALE_BYTES * math.prod(shape[axis] for axis in scale_axes)
    return math.prod(shape) + scale_bytes + OVERHEAD_BYTES <= _MAX_BYTES_SHARE * nbytes


def exclude_layers(exclude: Sequence[str], names: Collection[str]) -> tuple[str, ...]:
    """``exclude``, regular expressions, and one for the layers called ``names``: the cache of compiled ones is small."""
    return (*exclude, "|".join(map(re.escape, sorted(names)))) if names else tuple(exclude)
