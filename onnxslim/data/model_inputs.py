"""What a model wants to be fed, and whether an array is that.

A *sample* is one row of the data: the first axis of every array counts samples. How a sample becomes the tensor a
model takes is decided by ranks alone. For a model input of rank R:

- a sample of rank R - 1 is stacked with others along the input's batch axis, when there is one;
- a sample of rank R is already what the model takes, so it is fed alone;
- an input of rank 0 takes one value per sample, or a single one for all of them.

The batch axis is the first one, unless the dimension that is the batch elsewhere in the model sits on another
axis: a recurrent state ``[2, batch, 128]`` beside an input ``[batch, 512]`` is stacked along axis 1. An input whose
first axis is fixed to something that is not the batch (anchors ``[100, 4]``, a time step ``[1, 16]`` beside a batch
fixed at 4) has no batch axis: the samples of a run share it. An array of its own shape is that for all samples, and of
one tensor a sample the first sample of each run gives it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.missing_values import VALUE_PRESERVING_OPS, takes_missing_values
from onnxslim.data.states.static_caches import find_written_axis
from onnxslim.model_io import map_types

#: The dimension of an axis: a size, a symbol that may take any, or nothing known.
Dim = int | str | None
Array = NDArray[Any]


@dataclass(frozen=True)
class ModelInput:
    """One input of a model.

    Attributes:
        name: Its name in the graph.
        dtype: Its element type.
        dims: Its shape, None when the model does not tell the rank.
        axis: The axis samples are stacked along, None when they cannot be.
        required: False when an initializer of the same name is its default.
        limit: Integers from 0 to below this are indices of a table the model looks them up in; None when unknown.
        written_axis: The axis along which the model writes it by position (a static cache); None of anything else.
        takes_missing: Whether a NaN is a missing value that the model asks for; elsewhere it is a mistake.
    """

    name: str
    dtype: ir.DataType
    dims: tuple[Dim, ...] | None
    axis: int | None
    required: bool = True
    limit: int | None = None
    written_axis: int | None = None
    takes_missing: bool = False

    @property
    def fixed_batch_size(self) -> int | None:
        """The size of the batch axis where the model fixes it."""
        size = None if self.dims is None or self.axis is None else self.dims[self.axis]
        return size if isinstance(size, int) else None

    @property
    def sample_dims(self) -> tuple[Dim, ...]:
        """The shape of one sample that can be stacked; the input's own where nothing can."""
        dims = self.dims or ()
        return dims if self.axis is None else dims[: self.axis] + dims[self.axis + 1 :]

    @property
    def number_kind(self) -> str:
        """The kind of numbers it takes: ``floats``, ``integers``, ``booleans`` or ``strings``."""
        if self.dtype.is_floating_point():
            return "floats"
        if self.dtype.is_integer():
            return "integers"
        return "booleans" if self.dtype == ir.DataType.BOOL else "strings"

    def __str__(self) -> str:
        shape = "unknown rank" if self.dims is None else ",".join("?" if d is None else str(d) for d in self.dims)
        return f"{self.dtype.name.lower()}[{shape}]"

    def find_stacking_axis(self, shape: tuple[int, ...]) -> int | None:
        """The axis that samples of ``shape`` are stacked along, or None when each is fed as it is.

        Raises:
            ValueError: No tensor the model takes can be made of such a sample; the message says what can.
        """
        if self.dims is None:
            return 0
        if self.axis is not None and _matches(self.sample_dims, shape):
            return self.axis
        if _matches(self.dims, shape):
            return None
        raise ValueError(f"samples of shape {format_shape(shape)}, expected {format_shape(self.sample_dims)}")

    def is_whole_feed(self, shape: tuple[int, ...]) -> bool:
        """A tensor of ``shape`` can be fed as it is and consists of samples along the batch axis."""
        if self.dims is None:
            return bool(shape)
        return self.axis is not None and _matches(self.dims, shape)

    def is_shared_tensor(self, shape: tuple[int, ...]) -> bool:
        """An array of ``shape`` is what every run takes: it has no batch axis, and the shape is the input's own."""
        return self.axis is None and bool(self.dims) and _matches(self.dims or (), shape)

    def split_samples(self, tensor: Array) -> Array | None:
        """``tensor``, a whole feed of this input, as samples along a new first axis; None when it is no whole feed."""
        return np.moveaxis(tensor, self.axis or 0, 0) if self.is_whole_feed(tensor.shape) else None


def get_model_inputs(model: ir.Model) -> tuple[ModelInput, ...]:
    """The inputs of ``model`` in graph order.

    Raises:
        UnsupportedError: An input is not a tensor (a sequence, an optional), or its element type is unknown or complex.
    """
    values = list(model.graph.inputs)
    for value in values:
        kind = value.dtype
        supported = kind is not None and (
            kind.is_floating_point() or kind.is_integer() or kind in (ir.DataType.BOOL, ir.DataType.STRING)
        )
        if not isinstance(value.type, ir.TensorType) or not supported:
            actual = map_types.describe(model.graph, str(value.name)) or value.type
            raise UnsupportedError(f"input '{value.name}' is {actual}: only tensors of numbers or strings can be fed")
    inputs = build_inputs({str(v.name): (v.dtype or ir.DataType.UNDEFINED, read_dims(v)) for v in values})
    return tuple(
        replace(
            model_input,
            required=value.name not in model.graph.initializers,
            limit=_find_index_limit(value),
            written_axis=find_written_axis(value),
            takes_missing=takes_missing_values(value),
        )
        for model_input, value in zip(inputs, values, strict=True)
    )


def build_inputs(inputs: Mapping[str, tuple[ir.DataType, tuple[Dim, ...] | None]]) -> tuple[ModelInput, ...]:
    """Inputs of which only the element types and shapes are known, in their order."""
    batch = _find_batch_dim([dims for _, dims in inputs.values()])
    return tuple(ModelInput(name, dtype, dims, _find_batch_axis(dims, batch)) for name, (dtype, dims) in inputs.items())


def list_batch_readings(inputs: Sequence[ModelInput]) -> Iterator[Sequence[ModelInput]]:
    """``inputs``, and then with each other size that a first axis is fixed at taken for the batch."""
    yield inputs
    sizes = dict.fromkeys(i.dims[0] for i in inputs if i.axis is None and i.dims)
    for size in sizes if all(i.axis in (0, None) for i in inputs) else ():
        yield [replace(i, axis=_find_batch_axis(i.dims, size)) for i in inputs]


def find_fixed_batch_size(inputs: Sequence[ModelInput]) -> int:
    """How many samples a run takes at least: the size that the model fixes the batch at, else 1."""
    return max((i.fixed_batch_size or 1 for i in inputs), default=1)


def format_shape(shape: Sequence[Dim]) -> str:
    """``shape`` as numpy writes one: ``(2, ?, 128)``."""
    return f"({', '.join('?' if d is None else str(d) for d in shape)}{',' if len(shape) == 1 else ''})"


def _matches(dims: Sequence[Dim], shape: Sequence[int]) -> bool:
    return len(dims) == len(shape) and all(not isinstance(d, int) or d == size for d, size in zip(dims, shape, strict=True))


def read_dims(value: ir.Value) -> tuple[Dim, ...] | None:
    """The shape of ``value``, None when the model does not tell the rank."""
    if value.shape is None:
        return None
    sizes: list[Dim] = [d if isinstance(d, int) else d.value for d in value.shape]
    # Some exporters write 0 or -1 for "any size"; of an input the runtime takes 0 at its word.
    least = 0 if value.is_graph_input() else 1
    return tuple(None if isinstance(d, int) and d < least else d for d in sizes)


def _find_batch_dim(shapes: Sequence[tuple[Dim, ...] | None]) -> Dim:
    """The dimension that counts samples: one called so, else the first axis of the first input that has axes."""
    ranked = [dims for dims in shapes if dims]
    named = [d for dims in ranked for d in dims if isinstance(d, str) and "batch" in d.lower()]
    first = [dims[0] for dims in ranked if dims[0] != 0]  # nothing counts samples that is empty for good
    return named[0] if named else first[0] if first else None


def _find_batch_axis(dims: tuple[Dim, ...] | None, batch: Dim) -> int | None:
    if dims is None:
        return 0
    if not dims:
        return None
    if isinstance(batch, str) and batch in dims:
        return dims.index(batch)
    return 0 if not isinstance(dims[0], int) or dims[0] == batch else None


def _find_index_limit(value: ir.Value) -> int | None:
    """How many rows the table has that integers from ``value`` are looked up in, when they are (a Gather)."""
    for node, position in value.uses():
        if node.op_type == "Gather" and position == 1 and node.inputs[0] is not None:
            shape = node.inputs[0].shape
            limit = None if shape is None else shape[node.attributes.get_int("axis", 0)]
        elif node.op_type in VALUE_PRESERVING_OPS and position == 0:
            limit = _find_index_limit(node.outputs[0])
        else:
            continue
        if isinstance(limit, int):
            return limit
    return None
