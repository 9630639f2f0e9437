"""Which initializers are weights, and how each is trained.

A float initializer is its own parameter. An integer one behind a DequantizeLinear has a latent float parameter that is
rounded onto its grid in every run, gradients passing straight through (quantisation-aware training, Jacob et al. 2018,
arXiv:1712.05877); the scale stays, so the graph does not change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.graph.constants import get_const_array
from onnxslim.recovery.ops.quantization import broadcast_qparam, quantize_straight_through
from onnxslim.recovery.tensor_conversion import INTEGER_BOUNDS, TORCH_DTYPES, to_numpy, to_torch

#: Which inputs of an operator are weights when they are constant.
WEIGHT_INPUTS: dict[str, frozenset[int]] = {
    **dict.fromkeys("BatchNormalization Conv ConvTranspose GroupNormalization".split(), frozenset({1, 2})),
    **dict.fromkeys("InstanceNormalization LayerNormalization".split(), frozenset({1, 2})),
    **dict.fromkeys("GRU LSTM RNN".split(), frozenset({1, 2, 3})),
    **dict.fromkeys("PRelu RMSNormalization".split(), frozenset({1})),
    "Einsum": frozenset({0, 1, 2, 3}),
    "Gather": frozenset({0}),
    "Gemm": frozenset({0, 1, 2}),
    "MatMul": frozenset({0, 1}),
}
#: A constant here is a bias or a scale if it is a vector, however many axes of size 1 it has; else it may be a mask.
VECTOR_WEIGHT_INPUTS: dict[str, frozenset[int]] = dict.fromkeys(("Add", "Mul", "Sub"), frozenset({0, 1}))
#: Operators that only move a weight on its way to where it is used.
DATA_MOVEMENT_OPS = "Cast Concat Expand Flatten Identity Reshape Slice Split Squeeze Transpose Unsqueeze".split()

#: Zeros are kept where they are no accident: any exact one in a float weight, this share of them in a quantised one.
_MIN_SPARSE_SHARE = 1 / 3


@dataclass
class TrainableWeight:
    """One trained initializer.

    Attributes:
        name: Of the initializer.
        dtype: How it is stored.
        parameter: What is trained, float32, in the initializer's shape.
        mask: True where it may change; None where all of it may (zeros of a sparse weight stay zero).
        scale: Of a quantised weight, float32 and broadcast over it; None for a float one.
        zero_point: Its zero point, float32, the same.
    """

    name: str
    dtype: ir.DataType
    parameter: torch.nn.Parameter
    mask: Tensor | None = None
    scale: Tensor | None = field(default=None, repr=False)
    zero_point: Tensor | None = field(default=None, repr=False)

    def compute_value(self) -> Tensor:
        """What the graph sees: the parameter, or its whole numbers as floats."""
        if self.scale is None or self.zero_point is None:
            return self.parameter.to(TORCH_DTYPES[self.dtype])
        return quantize_straight_through(self.parameter, self.scale, self.zero_point, *INTEGER_BOUNDS[self.dtype])

    def to_array(self) -> np.ndarray:
        """What is stored: exactly what the graph saw."""
        if self.scale is None or self.zero_point is None or self.dtype != ir.DataType.INT32:
            return np.ascontiguousarray(to_numpy(self.compute_value(), self.dtype))
        # A bias has more digits than float32 has.
        latent: np.ndarray = self.parameter.detach().double().numpy()
        levels = np.rint(latent / self.scale.double().numpy()) + self.zero_point.double().numpy()
        return np.ascontiguousarray(np.clip(levels, *INTEGER_BOUNDS[self.dtype]).astype(np.int32))

    def restore_zeros(self) -> None:
        """Put back, in place, what the mask says must be zero."""
        if self.mask is not None:
            with torch.no_grad():
                self.parameter.mul_(self.mask)


def find_weights(graph: ir.Graph) -> dict[str, TrainableWeight]:
    """The weights of a graph by name, in its order."""
    weights = {}
    for name, value in graph.initializers.items():
        if value.const_value is None or value.is_graph_input() or value.const_value.size < 2:
            continue
        weight = _make_float_weight(name, value) or _make_quantized_weight(name, value)
        if weight is not None:
            weights[name] = weight
    return weights


def find_tables(graph: ir.Graph, weights: Mapping[str, TrainableWeight]) -> dict[str, int]:
    """The rows of each of ``weights`` that is nothing but a table whose rows the samples look up, by name."""
    return {
        name: weight.parameter.shape[0]
        for name, weight in weights.items()
        if all(
            node.op_type == "Gather"
            and index == 0
            and node.attributes.get_int("axis", 0) == 0
            and get_const_array(node.inputs[1]) is None
            for node, index in _find_uses(graph.initializers[name])
        )
    }


def _make_float_weight(name: str, value: ir.Value) -> TrainableWeight | None:
    tensor = value.const_value
    assert tensor is not None
    if tensor.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE):
        return None
    array = tensor.numpy()
    if not any(_is_weight(node, index, array) for node, index in _find_uses(value)) or not np.isfinite(array).all():
        return None
    parameter = _make_parameter(to_torch(array, tensor.dtype))
    zeros = parameter.detach() == 0
    is_sparse = parameter.dim() > 1 and bool(zeros.any())
    return TrainableWeight(name, tensor.dtype, parameter, ~zeros if is_sparse else None)


def _make_quantized_weight(name: str, value: ir.Value) -> TrainableWeight | None:
    tensor = value.const_value
    assert tensor is not None
    readers = list(value.uses())
    if tensor.dtype not in INTEGER_BOUNDS or not readers:
        return None
    node = readers[0].node
    if any(use.node.op_type != "DequantizeLinear" or use.idx != 0 for use in readers):
        return None
    # Tied weights share a parameter only if every reader puts them on the same grid.
    if any([*use.node.inputs[1:]] != [*node.inputs[1:]] for use in readers):
        return None
    scale = get_const_array(node.inputs[1])
    zero_point = get_const_array(node.inputs[2]) if len(node.inputs) > 2 else None
    if scale is None or (len(node.inputs) > 2 and node.inputs[2] is not None and zero_point is None):
        return None
    if not any(_is_weight(user, index, tensor.numpy()) for output in node.outputs for user, index in _find_uses(output)):
        return None
    levels = torch.from_numpy(tensor.numpy().astype(np.float64))
    axis, block = node.attributes.get_int("axis", 1), node.attributes.get_int("block_size", 0)
    factor = broadcast_qparam(to_torch(scale).double(), levels, axis, block)
    expanded_zero_point = broadcast_qparam(
        torch.from_numpy(np.asarray(0 if zero_point is None else zero_point, np.float64)), levels, axis, block
    )
    zeros = levels == expanded_zero_point
    is_sparse = levels.dim() > 1 and float(zeros.double().mean()) > _MIN_SPARSE_SHARE
    parameter = _make_parameter((levels - expanded_zero_point) * factor)
    return TrainableWeight(
        name, tensor.dtype, parameter, ~zeros if is_sparse else None, factor.float(), expanded_zero_point.float()
    )


def _make_parameter(values: Tensor) -> torch.nn.Parameter:
    """In the memory layout that convolutions on a CPU are quickest in."""
    layout = torch.channels_last if values.dim() == 4 else torch.contiguous_format
    return torch.nn.Parameter(values.float().contiguous(memory_format=layout))


def _find_uses(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Who reads a value, and as which input, looking through what only moves it."""
    for use in value.uses():
        if (use.node.op_type in DATA_MOVEMENT_OPS and use.idx == 0) or use.node.op_type == "Concat":
            for output in use.node.outputs:
                yield from _find_uses(output)
        else:
            yield use.node, use.idx


def _is_weight(node: ir.Node, index: int, array: np.ndarray) -> bool:
    if index in WEIGHT_INPUTS.get(node.op_type, ()):
        return True
    return index in VECTOR_WEIGHT_INPUTS.get(node.op_type, ()) and array.size == max(array.shape, default=0)
