"""Arrays in memory: one for a model with one input, or a mapping by input name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxslim.data.columns import Array, ArrayColumn, Column
from onnxslim.data.request import Found, Request
from onnxslim.data.streams import array


def accepts(source: Any) -> bool:
    """A mapping, or anything with a shape and a dtype."""
    return isinstance(source, Mapping) or (hasattr(source, "shape") and hasattr(source, "dtype"))


def read(request: Request) -> Found:
    """The rows of the arrays; nothing is copied until it is read.

    Raises:
        InvalidDataError: A value that is no array.
    """
    source = request.source
    arrays = dict(source) if isinstance(source, Mapping) else {request.single.name: source}
    columns: dict[str, Column | Array] = {}
    for key, value in arrays.items():
        made = array(value, f"'{key}'")
        columns[str(key)] = ArrayColumn(made) if made.ndim else made
    return Found(columns, "arrays in memory")
