"""Feeds: the rows of a column paired with the input they are for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.columns import Array, Column, ColumnRows, Indices, stack_rows
from onnxslim.data.dtype_checks import cast, check_kind
from onnxslim.data.model_inputs import ModelInput


@dataclass(frozen=True)
class InputFeed:
    """The rows that one input is fed from.

    Attributes:
        input: The input.
        column: Its samples.
        key: What the data call it.
        axis: The axis samples are stacked along; None when each is fed as it is.
    """

    input: ModelInput
    column: Column
    key: str
    axis: int | None

    @property
    def is_scalar(self) -> bool:
        """The input takes a single value (rank 0)."""
        return self.input.dims == ()

    @property
    def sample_size(self) -> int:
        """The elements of the largest sample."""
        return max(math.prod(shape) for shape in self.column.shapes)

    @property
    def sample_bytes(self) -> int:
        """The bytes of the largest sample as the model is fed with it."""
        dtype = self.column.dtype if self.input.number_kind == "strings" else self.input.dtype.numpy()
        return self.sample_size * dtype.itemsize

    def convert(self, rows: ColumnRows, positions: Indices) -> ColumnRows:
        """``rows``, as read from the column at ``positions``, in the model's element type and free of NaN."""
        where, row_numbers = f"'{self.key}'", positions.tolist()
        if isinstance(rows, list):
            return [cast(self.input, row[None], where, [n])[0] for row, n in zip(rows, row_numbers, strict=True)]
        return cast(self.input, rows, where, row_numbers)


def bind_column(model_input: ModelInput, column: Column, key: str) -> InputFeed:
    """Pair ``model_input`` with its rows, after checking dtype, rank and fixed dimensions of all of them.

    Raises:
        InvalidDataError: They do not fit; names the key, the first such sample and what was expected.
    """
    check_kind(model_input, column.dtype, f"'{key}'")
    axes = set()
    for shape, row in column.shapes.items():
        if 0 in shape:
            raise InvalidDataError(f"'{key}': sample {row} is empty (shape {shape}), expected {model_input}")
        try:
            axes.add(model_input.find_stacking_axis(shape))
        except ValueError as error:
            raise InvalidDataError(
                f"'{key}' has {error} for input '{model_input.name}' {model_input}",
                hint="the first axis of the array counts the samples",
            ) from error
    if len(axes) > 1:
        raise InvalidDataError(f"'{key}': some samples have the rank of the input {model_input} and some one less")
    return InputFeed(model_input, column, key, axes.pop() if axes else model_input.axis)


def find_fixed_batch(feeds: Sequence[InputFeed]) -> int | None:
    """How many samples every run takes: 1 when one cannot be stacked, N when the model says N, else None."""
    fixed = {f.input.fixed_batch_size for f in feeds if f.axis is not None and f.input.fixed_batch_size is not None}
    unstackable = [f for f in feeds if f.axis is None and not f.is_scalar]
    ragged = [f for f in feeds if len(f.column.shapes) > 1]
    size = 1 if unstackable else fixed.pop() if fixed else None
    if unstackable and fixed - {1}:
        raise InvalidDataError(
            f"'{unstackable[0].key}' is fed one sample at a time, but other inputs take {max(fixed)} samples",
            hint=f"give samples of '{unstackable[0].key}' for {max(fixed)} together with the others as whole feeds",
        )
    if size is not None and size > 1 and ragged:
        raise InvalidDataError(f"'{ragged[0].key}': samples of different shapes cannot fill a batch fixed at {size}")
    return size


def assemble_tensor(rows: ColumnRows, axis: int | None) -> Array:
    """Rows that share a run as the tensor of that run."""
    block = stack_rows(rows) if isinstance(rows, list) else rows
    assert isinstance(block, np.ndarray)
    if axis is None:
        return block[0:1].reshape(block.shape[1:])
    return np.ascontiguousarray(np.moveaxis(block, 0, axis))
