"""Rows that come by once, kept in a temporary file: memory does not grow with their number."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from typing import Any

import numpy as np

from onnxslim.data.columns import Array, Column, FileColumn, Stream, chained, write


class Spool:
    """Takes rows as they arrive (from an iterator, a reader, a table) and gives them back as a column.

    Args:
        name: What to call the rows in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: Stream = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as its columns
        self._size = 0
        self._blocks: list[tuple[int, np.dtype[Any], tuple[int, ...]]] = []

    def append(self, rows: Array) -> None:
        """Add rows; the first axis counts them.

        Raises:
            LimitError: The temporary folder is full.
        """
        data = np.ascontiguousarray(rows)
        if self._blocks and (last := self._blocks[-1])[1] == data.dtype and last[2][1:] == data.shape[1:]:
            self._blocks[-1] = (last[0], last[1], (last[2][0] + len(data), *data.shape[1:]))
        else:
            self._blocks.append((self._size, data.dtype, data.shape))
        write(self._file, data.tobytes())
        self._size += data.nbytes

    def column(self) -> Column:
        """The rows added so far."""
        self._file.flush()
        columns: list[Column] = [
            FileColumn(self._name, lambda: nullcontext(self._file), offset, dtype, shape)
            for offset, dtype, shape in self._blocks
        ]
        return chained(columns, [self._name] * len(columns))
