"""Columns by step: what a sequence has as a whole, given to each of its steps, and caches, of which the last tells all.

A cache holds what it held a step before and something behind it, and one of a fixed size zeros from there on: of the T²/2
positions that a text of T tokens has in the caches of all its steps, T are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onnxslim.data.columns import Array, Column, ColumnRows, Indices
from onnxslim.data.spool import Spool


class ReindexedColumn:
    """Rows that exist for some of a source's rows: row ``i`` of the source is row ``places[i]`` here."""

    def __init__(self, column: Column, row_map: Indices) -> None:
        self._column, self._row_map = column, row_map
        self.dtype, self.shapes = column.dtype, column.shapes

    def __len__(self) -> int:
        return len(self._row_map)

    def read(self, chunks: Sequence[Indices]) -> Any:
        return self._column.read([self._row_map[chunk] for chunk in chunks])


class CacheRecorder:
    """Takes the cache of each step in order, and gives them back as a column.

    Args:
        name: What to call it in errors.
        axis: Of a row, along which it grows or is filled.
    """

    def __init__(self, name: str, axis: int) -> None:
        self._spool, self._axis = Spool(name), axis
        self._longest: Array | None = None
        self._segments: list[int] = []
        self._filled: list[int] = []
        self._lengths: list[int] = []
        self._shapes: dict[tuple[int, ...], int] = {}
        self._spooled = 0

    def append(self, row: Array) -> None:
        """Add the cache of the next step; one that does not go on from the one before is kept by itself."""
        self._shapes.setdefault(row.shape, len(self._lengths))
        self._lengths.append(row.shape[self._axis])
        row = _trim_zeros(row, self._axis)
        if self._longest is None or not self._continues(row):
            self._flush()
        self._longest = row
        self._segments.append(self._spooled)
        self._filled.append(row.shape[self._axis])

    def to_column(self) -> Column:
        """The rows added so far."""
        self._flush()
        segments, filled, lengths = (np.array(part, np.intp) for part in (self._segments, self._filled, self._lengths))
        return _CacheColumn(self._spool.to_column(), segments, filled, lengths, self._axis, self._shapes)

    def _continues(self, row: Array) -> bool:
        longest = self._longest
        assert longest is not None
        if row.ndim != longest.ndim or row.shape[self._axis] < longest.shape[self._axis]:
            return False
        start = np.take(row, range(longest.shape[self._axis]), axis=self._axis)
        return np.array_equal(start, longest, equal_nan=row.dtype.kind == "f")

    def _flush(self) -> None:
        if self._longest is not None:
            self._spool.append(self._longest[None])
            self._longest = None
            self._spooled += 1


class _CacheColumn:
    """Row ``i`` is the first ``filled[i]`` positions along ``axis`` of row ``segments[i]`` of ``longest``, and zeros up to
    ``lengths[i]`` of them.
    """

    def __init__(
        self, longest: Column, segments: Indices, filled: Indices, lengths: Indices, axis: int,
        shapes: dict[tuple[int, ...], int],
    ) -> None:  # fmt: skip
        self._longest, self._segments, self._filled, self._lengths, self._axis = longest, segments, filled, lengths, axis
        self.dtype: np.dtype[Any] = longest.dtype
        self.shapes = shapes

    def __len__(self) -> int:
        return len(self._lengths)

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        """The rows of each chunk, each a copy."""
        held, number = None, -1
        for chunk in chunks:
            rows = []
            for index in chunk.tolist():
                if self._segments[index] != number:
                    number = int(self._segments[index])
                    held = next(iter(self._longest.read([np.array([number])])))[0]
                assert held is not None
                rows.append(self._fill(held, int(self._filled[index]), int(self._lengths[index])))
            yield np.stack(rows) if len({row.shape for row in rows}) == 1 else rows

    def _fill(self, held: Array, filled: int, length: int) -> Array:
        row = np.zeros((*held.shape[: self._axis], length, *held.shape[self._axis + 1 :]), held.dtype)
        np.moveaxis(row, self._axis, 0)[:filled] = np.moveaxis(held, self._axis, 0)[:filled]
        return row


def _trim_zeros(row: Array, axis: int) -> Array:
    """``row`` without the positions along ``axis`` behind the last that holds anything."""
    holds = (row != 0).any(axis=tuple(a for a in range(row.ndim) if a != axis))
    return np.take(row, range(int(np.flatnonzero(holds)[-1]) + 1 if holds.any() else 0), axis=axis)
