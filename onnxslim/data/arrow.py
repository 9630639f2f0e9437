"""Parquet, arrow and feather files, some rows at a time: the only code that needs pyarrow."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.data.columns import Array, Rows, stacked
from onnxslim.errors import InvalidDataError, UnsupportedError

#: Some rows of a table, by column, and how many at most.
Block = dict[str, Rows]
BLOCK = 1024


def parquet(path: Path) -> Iterator[Block]:
    """The rows of a parquet file.

    Raises:
        UnsupportedError: pyarrow is not installed.
        InvalidDataError: A broken file, an empty cell, or cells that are no numbers, text or lists of them.
    """
    parquet = _pyarrow("pyarrow.parquet", path)
    with _arrow_errors(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BLOCK):
            yield _block(batch, path)


def arrow(path: Path) -> Iterator[Block]:
    """The rows of an arrow (feather) file or stream; raises what :func:`parquet` does."""
    ipc = _pyarrow("pyarrow.ipc", path)
    with _arrow_errors(path), open(path, "rb") as stream:
        # A file begins with its name; what does not is a stream, which is what Hugging Face writes.
        is_file = stream.read(6) == b"ARROW1"
        stream.seek(0)
        reader = ipc.open_file(stream) if is_file else ipc.open_stream(stream)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            for start in range(0, batch.num_rows, BLOCK):
                yield _block(batch.slice(start, BLOCK), path)


def _pyarrow(module: str, path: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnsupportedError(
            f"{path}: reading {path.suffix} files needs pyarrow",
            hint="pip install 'onnxslim-toolkit[tables]'",
        ) from error


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        ValueError,
        OSError,
        TypeError,
        NotImplementedError,
    ) as error:  # what pyarrow's exceptions derive from
        raise InvalidDataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _block(batch: Any, path: Path) -> Block:
    return {
        name: _cells(batch.column(i), f"{path}: column '{name}'") for i, name in enumerate(batch.schema.names)
    }


def _cells(column: Any, where: str) -> Rows:
    if column.null_count:
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
    return stacked([_dense(value) for value in values])


def _dense(value: Any) -> Array:
    """Nested lists as one array."""
    return np.stack([_dense(part) for part in value]) if value.dtype.hasobject else value
