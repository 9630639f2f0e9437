"""Columns: the rows of one key, read in chunks, wherever they are stored.

A chunk is an array of row indices. Every column reads a sequence of chunks in one go, so that a compressed stream is
decompressed once and memory holds one chunk, whatever the number of rows. An array on disk is one class whether it
is an ``.npy`` file, a member of an ``.npz`` or a temporary spool; several columns after each other are a
:class:`ConcatenatedColumn`.
"""

from __future__ import annotations

import math
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxslim.core.errors import InvalidDataError, LimitError

Array = NDArray[Any]
Indices = NDArray[np.intp]
#: Rows of one shape as one array with a new first axis, rows of several as a list.
ColumnRows = Array | list[Array]
ByteStream = IO[bytes]

_COPY_CHUNK_BYTES = 1 << 20


class Column(Protocol):
    """The rows of one key."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shapes(self) -> dict[tuple[int, ...], int]:
        """Every shape a row has, with the first row that has it."""
        ...

    def __len__(self) -> int: ...

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        """The rows of each chunk, in the order its indices have."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayColumn:
    """Rows of an array in memory."""

    array: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def shapes(self) -> dict[tuple[int, ...], int]:
        return {self.array.shape[1:]: 0}

    def __len__(self) -> int:
        return len(self.array)

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        for chunk in chunks:
            yield self.array[chunk]


@dataclass(eq=False)
class FileColumn:
    """Rows of an array in a file, in C order unless ``fortran``.

    Attributes:
        name: What to call it in errors.
        open_stream: Gives the stream that holds the array; leaving the context closes what has to be closed.
        offset: Where in the stream the first row begins.
        dtype: Of the elements, in any byte order.
        shape: Of the array; the first axis counts rows.
        fortran: The array is stored column by column.
        sequential: Going back in the stream is dear (it is compressed): rows asked for out of order are read from a
            temporary copy.
    """

    name: str
    open_stream: Callable[[], AbstractContextManager[ByteStream]]
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool = False
    sequential: bool = False
    _copy: ByteStream | None = field(default=None, repr=False)

    @property
    def shapes(self) -> dict[tuple[int, ...], int]:
        return {self.shape[1:]: 0}

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        """The rows of each chunk.

        Raises:
            InvalidDataError: The file ends early or is corrupt.
        """
        if self.fortran:
            # A row lies scattered over the whole array, so the pages are left to the operating system.
            table = np.memmap(self._get_copy(), self.dtype, "r", 0, self.shape, order="F")
            for chunk in chunks:
                yield table[chunk]
            return
        use_copy = self._copy is not None or (self.sequential and not _is_ascending(chunks))
        open_source, offset = (lambda: nullcontext(self._get_copy()), 0) if use_copy else (self.open_stream, self.offset)
        with wrap_read_errors(self.name), open_source() as stream:
            for chunk in chunks:
                yield self._read_chunk(stream, offset, chunk)

    def _read_chunk(self, stream: ByteStream, offset: int, chunk: Indices) -> Array:
        block = np.empty((len(chunk), *self.shape[1:]), self.dtype)
        target = memoryview(block.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        stride = block.nbytes // max(len(chunk), 1)
        for start, stop in _find_consecutive_ranges(chunk):
            stream.seek(offset + int(chunk[start]) * stride)
            _read_into(stream, target[start * stride : stop * stride], self.name)
        return block

    def _get_copy(self) -> ByteStream:
        """The array's bytes alone, in a temporary file that vanishes with this column."""
        if self._copy is None:
            remaining = self.dtype.itemsize * math.prod(self.shape)
            copy = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the column
            with wrap_read_errors(self.name), self.open_stream() as stream:
                stream.seek(self.offset)
                while remaining:
                    piece = stream.read(min(remaining, _COPY_CHUNK_BYTES))
                    if not piece:
                        raise InvalidDataError(f"{self.name} ends {remaining} bytes early", hint="the file is truncated")
                    write_temporary(copy, piece)
                    remaining -= len(piece)
            copy.flush()
            self._copy = copy
        return self._copy


class ConcatenatedColumn:
    """Columns one after the other, e.g. the files of a folder.

    Args:
        columns: At least one; their rows may differ in shape, not in kind of dtype.
        names: What to call each in errors.

    Raises:
        InvalidDataError: The dtypes are of different kinds.
    """

    def __init__(self, columns: Sequence[Column], names: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._starts = np.cumsum([0, *(len(c) for c in columns)])
        self.dtype = columns[0].dtype
        self.shapes: dict[tuple[int, ...], int] = {}
        for column, name, start in zip(columns, names, self._starts[:-1], strict=True):
            if column.dtype.kind != self.dtype.kind:
                raise InvalidDataError(f"{name} is {column.dtype.name}, {names[0]} is {self.dtype.name}")
            for shape, row in column.shapes.items():
                self.shapes.setdefault(shape, int(start) + row)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        """The rows of each chunk; stretches that lie in one column are read from it in one go."""
        for _, parts in groupby(self._read_pieces(chunks), key=lambda part: part[0]):
            yield join_rows([rows for _, rows in parts])

    def _read_pieces(self, chunks: Sequence[Indices]) -> Iterator[tuple[int, ColumnRows]]:
        for owner, pieces in groupby(self._split_chunks(chunks), key=lambda piece: piece[1]):
            numbers, _, local = zip(*pieces, strict=True)
            yield from zip(numbers, self.columns[owner].read(local), strict=True)

    def _split_chunks(self, chunks: Iterable[Indices]) -> Iterator[tuple[int, int, Indices]]:
        """Stretches of each chunk that lie in one column: (chunk, column, rows of that column)."""
        for number, chunk in enumerate(chunks):
            owners = np.searchsorted(self._starts, chunk, side="right") - 1
            cuts = np.flatnonzero(np.diff(owners)) + 1
            for piece, owner in zip(np.split(chunk, cuts), owners[[0, *cuts]], strict=True):
                yield number, int(owner), piece - self._starts[owner]


def concatenate_columns(columns: Sequence[Column], names: Sequence[str]) -> Column:
    """One column of all rows of ``columns``."""
    return columns[0] if len(columns) == 1 else ConcatenatedColumn(columns, names)


def join_rows(parts: Sequence[ColumnRows]) -> ColumnRows:
    """Rows read in several parts as one array, or as a list when their shapes differ."""
    if len(parts) == 1:
        return parts[0]
    return stack_rows([row for part in parts for row in part])


def stack_rows(rows: list[Array]) -> ColumnRows:
    """Rows as one array when they have one shape, else the list itself."""
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def read_all(column: Column) -> Array:
    """All rows of a column of one shape, in memory; there may be none, of an input whose size is fixed at 0."""
    if not len(column):
        return np.empty((0, *next(iter(column.shapes))), column.dtype)
    return np.asarray(next(iter(column.read([np.arange(len(column))]))))


#: What a broken file makes its parser raise: zipfile decodes names and seeks before it doubts them.
_READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, RuntimeError, struct.error,
)  # fmt: skip


@contextmanager
def wrap_read_errors(name: str) -> Iterator[None]:
    """Turn what a broken file raises into :class:`InvalidDataError` that names it."""
    try:
        yield
    except _READ_ERRORS as error:
        raise InvalidDataError(f"{name} cannot be read: {error}") from error


def write_temporary(stream: ByteStream, data: bytes) -> None:
    """Write to a temporary file; a full disk is a :class:`LimitError`."""
    try:
        stream.write(data)
    except OSError as error:
        raise LimitError(
            f"the temporary folder {tempfile.gettempdir()} cannot take the data: {error}",
            hint="set TMPDIR to a folder with more room, or give fewer samples",
        ) from error


def _read_into(stream: ByteStream, target: memoryview, name: str) -> None:
    while target:
        got = stream.readinto(target)  # type: ignore[attr-defined]
        if not got:
            raise InvalidDataError(f"{name} ends {len(target)} bytes early", hint="the file is truncated")
        target = target[got:]


def _is_ascending(chunks: Sequence[Indices]) -> bool:
    return all(np.all(np.diff(c) > 0) for c in chunks) and all(a[-1] < b[0] for a, b in pairwise(chunks))


def _find_consecutive_ranges(chunk: Indices) -> Iterator[tuple[int, int]]:
    """The parts of ``chunk`` that are consecutive rows, as (start, stop) positions in it."""
    edges = [0, *(np.flatnonzero(np.diff(chunk) != 1) + 1).tolist(), len(chunk)]
    return pairwise(edges)
