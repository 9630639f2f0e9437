"""Parquet, arrow and feather files, some rows at a time: the only code that needs pyarrow."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UnsupportedError
from onnxslim.data.columns import Array, ColumnRows, stack_rows

#: Some rows of a table, by column, and how many at most.
TableBlock = dict[str, ColumnRows]
BLOCK_ROWS = 1024


def read_parquet(path: Path) -> Iterator[TableBlock]:
    """The rows of a parquet file.

    Raises:
        UnsupportedError: pyarrow is not installed.
        InvalidDataError: A broken file, an empty cell, or cells that are no numbers, text or lists of them.
    """
    parquet = _import_pyarrow("pyarrow.parquet", path)
    with _wrap_arrow_errors(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BLOCK_ROWS):
            yield _convert_batch(batch, path)


def read_arrow(path: Path) -> Iterator[TableBlock]:
    """The rows of an arrow (feather) file or stream; raises what :func:`read_parquet` does."""
    ipc = _import_pyarrow("pyarrow.ipc", path)
    with _wrap_arrow_errors(path), open(path, "rb") as stream:
        # A file begins with its name; what does not is a stream, which is what Hugging Face writes.
        is_file = stream.read(6) == b"ARROW1"
        stream.seek(0)
        reader = ipc.open_file(stream) if is_file else ipc.open_stream(stream)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            for start in range(0, batch.num_rows, BLOCK_ROWS):
                yield _convert_batch(batch.slice(start, BLOCK_ROWS), path)


def _import_pyarrow(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedError(
            f"{path}: reading {path.suffix} files needs pyarrow",
            hint="pip install 'onnxslim-toolkit[tables]'",
        ) from error


@contextmanager
def _wrap_arrow_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, TypeError, NotImplementedError) as error:  # what pyarrow's exceptions derive from
        raise InvalidDataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _convert_batch(batch: Any, path: Path) -> TableBlock:
    return {name: _convert_column(batch.column(i), f"{path}: column '{name}'") for i, name in enumerate(batch.schema.names)}


def _convert_column(column: Any, where: str) -> ColumnRows:
    # an empty cell among numbers becomes NaN, as what pandas writes was, and a model may ask for that
    if column.null_count and not str(column.type).startswith(("halffloat", "float", "double", "int", "uint")):
        raise InvalidDataError(f"{where} has empty cells")
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    values: Array = column.to_numpy(zero_copy_only=False)
    if not values.dtype.hasobject:
        return values
    if isinstance(values[0], str):
        return values.astype(np.str_)
    if not isinstance(values[0], np.ndarray):
        raise InvalidDataError(f"{where} holds {column.type}, expected numbers, text or lists of them")
    return stack_rows([_to_dense(value) for value in values])


def _to_dense(value: Any) -> Array:
    """Nested lists as one array."""
    return np.stack([_to_dense(part) for part in value]) if value.dtype.hasobject else value
