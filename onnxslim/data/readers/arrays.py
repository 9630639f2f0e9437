"""Arrays in memory: one for a model with one input, or a mapping by input name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxslim.data.columns import Array, ArrayColumn, Column
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.readers.iterables import as_array


def accepts(source: Any) -> bool:
    """A mapping, or anything with a shape and a dtype."""
    return isinstance(source, Mapping) or (hasattr(source, "shape") and hasattr(source, "dtype"))


def read(request: ReaderRequest) -> ReaderResult:
    """The rows of the arrays; nothing is copied until it is read.

    Raises:
        InvalidDataError: A value that is no array.
    """
    source = request.source
    arrays = dict(source) if isinstance(source, Mapping) else {request.only_input.name: source}
    columns: dict[str, Column | Array] = {}
    for key, value in arrays.items():
        converted = as_array(value, f"'{key}'")
        columns[str(key)] = ArrayColumn(converted) if converted.ndim else converted
    return ReaderResult(columns, "arrays in memory")
