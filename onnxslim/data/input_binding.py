"""Feeds: the rows of a column paired with the input they are for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.columns import Array, ArrayColumn, Column, ColumnRows, Indices, read_all, stack_rows
from onnxslim.data.dtype_checks import cast, check_kind
from onnxslim.data.model_inputs import ModelInput, list_batch_readings


@dataclass(frozen=True)
class InputFeed:
    """The rows that one input is fed from.

    Attributes:
        key: What the data call the input.
        axis: The axis samples are stacked along; None when each is fed as it is.
        is_constant: The data have one value of it for all samples.
    """

    input: ModelInput
    column: Column
    key: str
    axis: int | None
    is_constant: bool = False

    @property
    def is_scalar(self) -> bool:
        """The input takes a single value (rank 0)."""
        return self.input.dims == ()

    @property
    def is_shared(self) -> bool:
        """All samples of a run share one value of it: a scalar, or a tensor that is fed as it is and has no batch axis."""
        return self.is_scalar or (self.axis is None and self.input.axis is None)

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
    for shape in column.shapes:
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


def bind_columns(
    inputs: Sequence[ModelInput], columns: Mapping[str, tuple[str, Column | Array]], title: str
) -> list[InputFeed]:
    """Pair ``inputs`` with ``columns``, their keys and rows (or one value for all) by the name of the input.

    Which axis counts samples is read off the model, and where the data do not go with that, off its other first axes.

    Raises:
        InvalidDataError: As :func:`bind_column` does for the first reading, or there are not as many rows of each.
    """
    reason: InvalidDataError | None = None
    for reading in list_batch_readings(inputs):
        try:
            return _bind_columns(reading, columns, title)
        except InvalidDataError as error:
            reason = reason or error
    assert reason is not None
    raise reason


def _bind_columns(
    inputs: Sequence[ModelInput], columns: Mapping[str, tuple[str, Column | Array]], title: str
) -> list[InputFeed]:
    values = {i.name: _read_shared_value(i, columns[i.name][1]) for i in inputs if i.name in columns}
    shared = {name: value for name, value in values.items() if value is not None}
    lengths = {key: len(column) for name, (key, column) in columns.items() if name not in shared}
    first, total = next(iter(lengths.items()), ("", 1))
    for key, length in lengths.items():
        if length != total:
            raise InvalidDataError(
                f"{title}: '{key}' has {length} samples, '{first}' has {total}",
                hint="the first axis counts samples; one value for all of them is a 0-d array",
            )
    feeds = []
    for model_input in inputs:
        if model_input.name in columns:
            key, column = columns[model_input.name]
            value = shared.get(model_input.name)
            if value is not None:
                column = ArrayColumn(np.broadcast_to(value, (total, *value.shape)))
            assert not isinstance(column, np.ndarray)
            feeds.append(replace(bind_column(model_input, column, key), is_constant=value is not None))
    return feeds


def _read_shared_value(model_input: ModelInput, column: Column | Array) -> Array | None:
    """The array of ``column`` where it is no samples but what every run takes."""
    if isinstance(column, np.ndarray) or len(column.shapes) != 1:
        return column if isinstance(column, np.ndarray) else None
    shape = (len(column), *next(iter(column.shapes)))
    return read_all(column) if model_input.is_shared_tensor(shape) else None


def find_fixed_batch(feeds: Sequence[InputFeed]) -> int | None:
    """How many samples every run takes: N when the model says N, 1 when one cannot be stacked, else None."""
    fixed = [size for f in feeds if f.axis is not None and (size := f.input.fixed_batch_size) is not None]
    size = max(fixed, default=1)
    whole = [f for f in feeds if f.axis is None and not f.is_shared]
    ragged = [f for f in feeds if len(f.column.shapes) > 1]
    if whole and size > 1:
        raise InvalidDataError(
            f"'{whole[0].key}' is fed one sample at a time, but other inputs take {size} samples",
            hint=f"give samples of '{whole[0].key}' for {size} together with the others as whole feeds",
        )
    if size > 1 and ragged:
        raise InvalidDataError(f"'{ragged[0].key}': samples of different shapes cannot fill a batch fixed at {size}")
    return size if fixed or any(f.axis is None and not f.is_scalar for f in feeds) else None


def assemble_tensor(rows: ColumnRows, axis: int | None) -> Array:
    """Rows that share a run as the tensor of that run."""
    block = stack_rows(rows) if isinstance(rows, list) else rows
    assert isinstance(block, np.ndarray)
    if axis is None:
        return block[0:1].reshape(block.shape[1:])
    return np.ascontiguousarray(np.moveaxis(block, 0, axis))


def find_batch_ends(feeds: Sequence[InputFeed], parts: Sequence[ColumnRows], count: int) -> list[int]:
    """Where among ``count`` samples a run must end along a free batch axis: where a shape or a scalar changes."""
    varying = [
        [row.item() if f.is_scalar else row.shape for row in part]
        for f, part in zip(feeds, parts, strict=True)
        if f.is_scalar or isinstance(part, list)
    ]
    keys = list(zip(*varying, strict=True)) if varying else [()] * count
    return [0, *(i for i in range(1, count) if keys[i] != keys[i - 1]), count]


def check_shared_values(feeds: Sequence[InputFeed], parts: Sequence[ColumnRows], batch: int) -> None:
    """Refuse labels of samples that a run of ``batch`` does not see: whose shared input is not that of the first one.

    Raises:
        InvalidDataError: Names the key.
    """
    for feed, part in zip(feeds, parts, strict=True):
        if feed.is_shared and any(not np.array_equal(row, part[0]) for row in part):
            raise InvalidDataError(
                f"'{feed.key}' must not change within a batch fixed at {batch}, because there are labels",
                hint=f"a run takes one value of it: let each {batch} samples in a row have the same",
            )


def read_rows(feeds: Sequence[InputFeed], size: int, order: Indices) -> Iterator[list[ColumnRows]]:
    """The rows at ``order``, ``size`` at a time along the first axis, converted, in the order of ``feeds``."""
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    streams = [feed.column.read(chunks) for feed in feeds]
    for chunk, *parts in zip(chunks, *streams, strict=True):
        yield [feed.convert(part, chunk) for feed, part in zip(feeds, parts, strict=True)]


def digest_row(feeds: Sequence[InputFeed], rows: Sequence[Array]) -> bytes:
    """A hash of one sample, a row of each of ``feeds``, as the model would be fed with it alone."""
    hasher = hashlib.blake2b(digest_size=16)
    for feed, row in sorted(zip(feeds, rows, strict=True), key=lambda pair: pair[0].input.name):
        input_tensor = assemble_tensor(np.asarray(row)[None], feed.axis)
        content = repr(input_tensor.tolist()).encode() if input_tensor.dtype.kind == "U" else input_tensor.tobytes()
        hasher.update(f"{feed.input.name} {input_tensor.shape} {len(content)}\n".encode() + content)
    return hasher.digest()
