"""Rows that come by once, kept in a temporary file: memory does not grow with their number."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from onnxslim.data.columns import Array, ByteStream, Column, FileColumn, concatenate_columns, write_temporary


class Spool:
    """Takes rows as they arrive (from an iterator, a reader, a table) and gives them back as a column.

    Args:
        name: What to call the rows in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: ByteStream = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its columns
        self._size = 0
        self._columns: list[FileColumn] = []

    def append(self, rows: Array) -> None:
        """Add rows; the first axis counts them.

        Raises:
            LimitError: The temporary folder is full.
        """
        data = np.ascontiguousarray(rows)
        last = self._columns[-1] if self._columns else None
        if last is not None and last.dtype == data.dtype and last.shape[1:] == data.shape[1:]:
            self._columns[-1] = replace(last, shape=(len(last) + len(data), *data.shape[1:]))
        else:
            self._columns.append(FileColumn(self._name, lambda: nullcontext(self._file), self._size, data.dtype, data.shape))
        write_temporary(self._file, data.tobytes())
        self._size += data.nbytes

    def to_column(self) -> Column:
        """The rows added so far."""
        self._file.flush()
        return concatenate_columns(self._columns, [self._name] * len(self._columns))
