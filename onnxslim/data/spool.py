"""Rows that come by once, kept in a temporary file: memory does not grow with their number."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from typing import Any

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
        self._blocks: list[tuple[int, np.dtype[Any], tuple[int, ...]]] = []

    def append(self, rows: Array) -> None:
        """Add rows; the first axis counts them.

        Raises:
            LimitError: The temporary folder is full.
        """
        data = np.ascontiguousarray(rows)
        if self._blocks and (last_block := self._blocks[-1])[1] == data.dtype and last_block[2][1:] == data.shape[1:]:
            self._blocks[-1] = (last_block[0], last_block[1], (last_block[2][0] + len(data), *data.shape[1:]))
        else:
            self._blocks.append((self._size, data.dtype, data.shape))
        write_temporary(self._file, data.tobytes())
        self._size += data.nbytes

    def to_column(self) -> Column:
        """The rows added so far."""
        self._file.flush()
        columns: list[Column] = [
            FileColumn(self._name, lambda: nullcontext(self._file), offset, dtype, shape)
            for offset, dtype, shape in self._blocks
        ]
        return concatenate_columns(columns, [self._name] * len(columns))
