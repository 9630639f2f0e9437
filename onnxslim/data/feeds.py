"""Feeds: the rows of a column paired with the input they are for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.data.casts import cast, check_kind
from onnxslim.data.columns import Array, Column, Indices, Rows, stacked
from onnxslim.data.inputs import Input
from onnxslim.errors import InvalidDataError


@dataclass(frozen=True)
class Feed:
    """The rows that one input is fed from.

    Attributes:
        input: The input.
        column: Its samples.
        key: What the data call it.
        axis: The axis samples are stacked along; None when each is fed as it is.
    """

    input: Input
    column: Column
    key: str
    axis: int | None

    @property
    def scalar(self) -> bool:
        """The input takes a single value (rank 0)."""
        return self.input.dims == ()

    @property
    def sample_size(self) -> int:
        """The elements of the largest sample."""
        return max(math.prod(shape) for shape in self.column.shapes)

    @property
    def sample_bytes(self) -> int:
        """The bytes of the largest sample as the model is fed with it."""
        dtype = self.column.dtype if self.input.family == "strings" else self.input.dtype.numpy()
        return self.sample_size * dtype.itemsize

    def convert(self, rows: Rows, positions: Indices) -> Rows:
        """``rows``, as read from the column at ``positions``, in the model's element type and free of NaN."""
        where, numbers = f"'{self.key}'", positions.tolist()
        if isinstance(rows, list):
            return [cast(self.input, row[None], where, [n])[0] for row, n in zip(rows, numbers, strict=True)]
        return cast(self.input, rows, where, numbers)


def feed(wanted: Input, column: Column, key: str) -> Feed:
    """Pair ``wanted`` with its rows, after checking dtype, rank and fixed dimensions of all of them.

    Raises:
        InvalidDataError: They do not fit; names the key, the first such sample and what was expected.
    """
    check_kind(wanted, column.dtype, f"'{key}'")
    axes = set()
    for shape, row in column.shapes.items():
        if 0 in shape:
            raise InvalidDataError(f"'{key}': sample {row} is empty (shape {shape}), expected {wanted}")
        try:
            axes.add(wanted.place(shape))
        except ValueError as error:
            raise InvalidDataError(
                f"'{key}' has {error} for input '{wanted.name}' {wanted}",
                hint="the first axis of the array counts the samples",
            ) from error
    if len(axes) > 1:
        raise InvalidDataError(f"'{key}': some samples have the rank of the input {wanted} and some one less")
    return Feed(wanted, column, key, axes.pop() if axes else wanted.axis)


def fixed_batch(feeds: Sequence[Feed]) -> int | None:
    """How many samples every run takes: 1 when one cannot be stacked, N when the model says N, else None."""
    fixed = {f.input.batch for f in feeds if f.axis is not None and f.input.batch is not None}
    alone = [f for f in feeds if f.axis is None and not f.scalar]
    ragged = [f for f in feeds if len(f.column.shapes) > 1]
    size = 1 if alone else fixed.pop() if fixed else None
    if alone and fixed - {1}:
        raise InvalidDataError(
            f"'{alone[0].key}' is fed one sample at a time, but other inputs take {max(fixed)} samples",
            hint=f"give samples of '{alone[0].key}' for {max(fixed)} together with the others as whole feeds",
        )
    if size is not None and size > 1 and ragged:
        raise InvalidDataError(
            f"'{ragged[0].key}': samples of different shapes cannot fill a batch fixed at {size}"
        )
    return size


def tensor(rows: Rows, axis: int | None) -> Array:
    """Rows that share a run as the tensor of that run."""
    block = stacked(rows) if isinstance(rows, list) else rows
    assert isinstance(block, np.ndarray)
    if axis is None:
        return block[0:1].reshape(block.shape[1:])
    return np.ascontiguousarray(np.moveaxis(block, 0, axis))
