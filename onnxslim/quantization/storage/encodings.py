"""Exact forms of constants that take fewer bytes, each with the nodes that make the constant of them at load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxslim.graph.editor import GraphEditor

#: By type, those that may hold the same values, the narrowest first. -0.0 is no integer's.
_NARROWER: dict[ir.DataType, tuple[ir.DataType, ...]] = {
    ir.DataType.INT64: (
        ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16, ir.DataType.INT32,
    ),
    ir.DataType.INT32: (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16),
    ir.DataType.FLOAT: (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.FLOAT16),
    ir.DataType.DOUBLE: (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.FLOAT16, ir.DataType.FLOAT),
}  # fmt: skip
_STEPS = (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16)
#: Bytes that one more node takes in the file, names being short, and one more tensor.
_NODE_BYTES, _TENSOR_BYTES = 40, 30
#: Values that a byte tells apart, and of how many elements they are counted first: of arbitrary numbers nearly all differ.
_MAX_VALUES, _PROBE_SIZE = 256, 2048
#: The opset that CumSum came with.
_CUMSUM_OPSET = 11


class ConstantForm(Protocol):
    """A constant in another form."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file, nodes included."""

    def write(self, editor: GraphEditor, stem: str, tensor: ir.TensorProtocol) -> ir.Value:
        """Put it in front of everything in the graph: what ``tensor``, called ``stem``, is again."""


@dataclass(frozen=True, eq=False)
class Narrowed:
    """The same numbers in a narrower type.

    Attributes:
        array: They.
        dtype: The type.
    """

    array: np.ndarray
    dtype: ir.DataType

    @property
    def nbytes(self) -> int:
        """See :class:`ConstantForm`."""
        return self.array.nbytes + _NODE_BYTES

    def write(self, editor: GraphEditor, stem: str, tensor: ir.TensorProtocol) -> ir.Value:
        """See :class:`ConstantForm`."""
        narrow = editor.add_initializer(f"{stem}_{self.dtype.name.lower()}", self.array, self.dtype)
        return editor.add_cast(narrow, tensor.dtype, before=editor.graph[0], name=f"{stem}_Cast")


@dataclass(frozen=True, eq=False)
class LookedUp:
    """A byte for each element, which says which of few values it has: anchors of a detector, masks, buckets of positions.

    Attributes:
        codes: uint8, of the constant's shape.
        values: One axis, of its type.
    """

    codes: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """See :class:`ConstantForm`."""
        return self.codes.nbytes + self.values.nbytes + 2 * _NODE_BYTES + _TENSOR_BYTES

    def write(self, editor: GraphEditor, stem: str, tensor: ir.TensorProtocol) -> ir.Value:
        """See :class:`ConstantForm`."""
        codes, first = editor.add_initializer(f"{stem}_codes", self.codes), editor.graph[0]
        indices = editor.add_cast(codes, ir.DataType.INT32, before=first, name=f"{stem}_Cast")
        values = editor.add_initializer(f"{stem}_values", self.values, tensor.dtype)
        shape = ir.Shape(self.codes.shape)
        return editor.add_node(
            "Gather", values, indices, before=first, name=f"{stem}_Gather", dtype=tensor.dtype, shape=shape
        )


@dataclass(frozen=True, eq=False)
class Differences:
    """A byte or two for each step from an integer to the next: indices in order, ranges.

    Attributes:
        steps: uint8, int8, uint16 or int16, (elements,).
        shape: The constant's.
    """

    steps: np.ndarray
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """See :class:`ConstantForm`."""
        extra = 0 if len(self.shape) == 1 else _NODE_BYTES + _TENSOR_BYTES + 8 * len(self.shape)
        return self.steps.nbytes + 2 * _NODE_BYTES + _TENSOR_BYTES + extra

    def write(self, editor: GraphEditor, stem: str, tensor: ir.TensorProtocol) -> ir.Value:
        """See :class:`ConstantForm`."""
        first, dtype = editor.graph[0], tensor.dtype
        steps = editor.add_initializer(f"{stem}_steps", self.steps)
        wide = editor.add_cast(steps, dtype, before=first, name=f"{stem}_Cast")
        axis = editor.add_initializer(f"{stem}_axis", np.array(0, np.int32))
        last = editor.add_node(
            "CumSum", wide, axis, before=first, name=f"{stem}_CumSum", dtype=dtype, shape=ir.Shape(self.steps.shape)
        )
        if len(self.shape) != 1:
            sizes = editor.add_initializer(f"{stem}_shape", np.array(self.shape, np.int64))
            last = editor.add_node(
                "Reshape", last, sizes, before=first, name=f"{stem}_Reshape", dtype=dtype, shape=ir.Shape(self.shape)
            )
        return last


def find_exact_forms(wide: np.ndarray, dtype: ir.DataType, opset: int) -> Iterator[ConstantForm]:
    """The forms that give ``wide`` back bit for bit.

    Args:
        wide: A constant.
        dtype: Its type; of others than floats and integers of 32 and 64 bits there is no other form.
        opset: What the graph's ops are of.
    """
    for kind in _NARROWER.get(dtype, ()):
        if (narrow := _narrow(wide, kind)) is not None:
            yield Narrowed(narrow, kind)
            break
    if dtype not in _NARROWER:
        return
    bits = wide.reshape(-1).view(f"u{wide.itemsize}")  # as bits, -0.0 is not 0.0
    if np.unique(bits[:_PROBE_SIZE]).size <= _MAX_VALUES:
        values, codes = np.unique(bits, return_inverse=True)
        if values.size <= _MAX_VALUES:
            yield LookedUp(codes.astype(np.uint8).reshape(wide.shape), values.view(wide.dtype))
    if wide.dtype.kind == "i" and opset >= _CUMSUM_OPSET:
        flat = wide.reshape(-1)
        steps = np.diff(flat, prepend=flat.dtype.type(0))
        narrowed = next((found for kind in _STEPS if (found := _narrow(steps, kind)) is not None), None)
        if narrowed is not None and np.array_equal(np.cumsum(narrowed, dtype=wide.dtype), flat):
            yield Differences(narrowed, wide.shape)


def _narrow(wide: np.ndarray, kind: ir.DataType) -> np.ndarray | None:
    """``wide`` as ``kind``, where that keeps every bit."""
    with np.errstate(all="ignore"):
        narrow: np.ndarray = wide.astype(kind.numpy())
        return narrow if narrow.astype(wide.dtype).tobytes() == wide.tobytes() else None
