"""Which initializers are weights, and how each is trained.

A float initializer is its own parameter. An integer one behind a DequantizeLinear has a latent float parameter that is
rounded onto its grid in every run, gradients passing straight through (quantisation-aware training, Jacob et al. 2018,
arXiv:1712.05877); the scale stays, so the graph does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from onnxslim.graph.constants import constant
from onnxslim.recover.ops.quantization import along, fake_levels
from onnxslim.recover.tensors import BOUNDS, CARRIER, to_numpy, to_torch

#: Which inputs of an operator are weights when they are constant.
ROLES: dict[str, frozenset[int]] = {
    "BatchNormalization": frozenset({1, 2}),
    "Conv": frozenset({1, 2}),
    "ConvTranspose": frozenset({1, 2}),
    "Einsum": frozenset({0, 1, 2, 3}),
    "GRU": frozenset({1, 2, 3}),
    "Gather": frozenset({0}),
    "Gemm": frozenset({0, 1, 2}),
    "GroupNormalization": frozenset({1, 2}),
    "InstanceNormalization": frozenset({1, 2}),
    "LSTM": frozenset({1, 2, 3}),
    "LayerNormalization": frozenset({1, 2}),
    "MatMul": frozenset({0, 1}),
    "PRelu": frozenset({1}),
    "RMSNormalization": frozenset({1}),
    "RNN": frozenset({1, 2, 3}),
}
#: A constant here is a bias or a scale if it is a vector, however many axes of size 1 it has; else it may be a mask.
VECTOR_ROLES: dict[str, frozenset[int]] = dict.fromkeys(("Add", "Mul", "Sub"), frozenset({0, 1}))
#: Operators that only move a weight on its way to where it is used.
MOVES = (
    "Cast",
    "Concat",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)

#: Zeros are kept where they are no accident: any exact one in a float weight, this share of them in a quantised one.
_SPARSE_SHARE = 1 / 3


@dataclass
class Weight:
    """One trained initializer.

    Attributes:
        name: Of the initializer.
        dtype: How it is stored.
        parameter: What is trained, float32, in the initializer's shape.
        mask: True where it may change; None where all of it may (zeros of a sparse weight stay zero).
        scale: Of a quantised weight, float32 and broadcast over it; None for a float one.
        zero: Its zero point, float32, the same.
    """

    name: str
    dtype: ir.DataType
    parameter: torch.nn.Parameter
    mask: Tensor | None = None
    scale: Tensor | None = field(default=None, repr=False)
    zero: Tensor | None = field(default=None, repr=False)

    def value(self) -> Tensor:
        """What the graph sees: the parameter, or its whole numbers as floats."""
        if self.scale is None or self.zero is None:
            return self.parameter.to(CARRIER[self.dtype])
        return fake_levels(self.parameter, self.scale, self.zero, *BOUNDS[self.dtype])

    def array(self) -> np.ndarray:
        """What is stored: exactly what the graph saw."""
        if self.scale is None or self.zero is None or self.dtype != ir.DataType.INT32:
            return np.ascontiguousarray(to_numpy(self.value(), self.dtype))
        # A bias has more digits than float32 has.
        latent: np.ndarray = self.parameter.detach().double().numpy()
        levels = np.rint(latent / self.scale.double().numpy()) + self.zero.double().numpy()
        return np.ascontiguousarray(np.clip(levels, *BOUNDS[self.dtype]).astype(np.int32))

    def hold_zeros(self) -> None:
        """Put back, in place, what the mask says must be zero."""
        if self.mask is not None:
            with torch.no_grad():
                self.parameter.mul_(self.mask)


def find_weights(graph: ir.Graph) -> dict[str, Weight]:
    """The weights of a graph by name, in its order."""
    found = {}
    for name, value in graph.initializers.items():
        if value.const_value is None or value.is_graph_input() or value.const_value.size < 2:
            continue
        weight = _float_weight(name, value) or _quantised_weight(name, value)
        if weight is not None:
            found[name] = weight
    return found


def _float_weight(name: str, value: ir.Value) -> Weight | None:
    held = value.const_value
    assert held is not None
    if held.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE):
        return None
    array = held.numpy()
    if (
        not any(_is_weight(node, index, array) for node, index in _uses(value))
        or not np.isfinite(array).all()
    ):
        return None
    parameter = _parameter(to_torch(array, held.dtype))
    zeros = parameter.detach() == 0
    sparse = parameter.dim() > 1 and bool(zeros.any())
    return Weight(name, held.dtype, parameter, ~zeros if sparse else None)


def _quantised_weight(name: str, value: ir.Value) -> Weight | None:
    held = value.const_value
    assert held is not None
    readers = list(value.uses())
    if held.dtype not in BOUNDS or not readers:
        return None
    node = readers[0].node
    if any(use.node.op_type != "DequantizeLinear" or use.idx != 0 for use in readers):
        return None
    # Tied weights share a parameter only if every reader puts them on the same grid.
    if any([*use.node.inputs[1:]] != [*node.inputs[1:]] for use in readers):
        return None
    scale = constant(node.inputs[1])
    offset = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scale is None or (len(node.inputs) > 2 and node.inputs[2] is not None and offset is None):
        return None
    if not any(
        _is_weight(user, index, held.numpy()) for output in node.outputs for user, index in _uses(output)
    ):
        return None
    levels = torch.from_numpy(held.numpy().astype(np.float64))
    axis, block = _attribute(node, "axis", 1), _attribute(node, "block_size", 0)
    factor = along(to_torch(scale).double(), levels, axis, block)
    zero = along(
        torch.from_numpy(np.asarray(0 if offset is None else offset, np.float64)), levels, axis, block
    )
    zeros = levels == zero
    sparse = levels.dim() > 1 and float(zeros.double().mean()) > _SPARSE_SHARE
    parameter = _parameter((levels - zero) * factor)
    return Weight(name, held.dtype, parameter, ~zeros if sparse else None, factor.float(), zero.float())


def _parameter(values: Tensor) -> torch.nn.Parameter:
    """In the memory layout that convolutions on a CPU are quickest in."""
    layout = torch.channels_last if values.dim() == 4 else torch.contiguous_format
    return torch.nn.Parameter(values.float().contiguous(memory_format=layout))


def _uses(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Who reads a value, and as which input, looking through what only moves it."""
    for use in value.uses():
        if (use.node.op_type in MOVES and use.idx == 0) or use.node.op_type == "Concat":
            for output in use.node.outputs:
                yield from _uses(output)
        else:
            yield use.node, use.idx


def _is_weight(node: ir.Node, index: int, array: np.ndarray) -> bool:
    if index in ROLES.get(node.op_type, ()):
        return True
    return index in VECTOR_ROLES.get(node.op_type, ()) and array.size == max(array.shape, default=0)


def _attribute(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default
