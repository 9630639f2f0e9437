"""Tables: ``.csv``, ``.parquet``, ``.arrow`` and ``.feather`` files whose columns are inputs.

Columns called like the inputs feed them. For a model with one input and no column of its name, all columns that are
neither labels nor groups are the features of a sample, in order. A cell may be a list; where the shape of the input is
fixed it is reshaped to that, since tables know no shapes. Whole numbers are taken for a float input: in a table they
are numbers, not pixels. All but csv need pyarrow.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.array_files import check_regular_file
from onnxslim.data.columns import Array, ColumnRows
from onnxslim.data.model_inputs import ModelInput
from onnxslim.data.reader import LABELS_KEY, ReaderRequest, ReaderResult
from onnxslim.data.readers import arrow, labeled_folder
from onnxslim.data.spool import Spool

_DTYPES = {"floats": np.float64, "integers": np.int64, "strings": np.str_}
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def accepts(source: Any) -> bool:
    """A path with the suffix of a table (csv, parquet, arrow, feather)."""
    return isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() in TABLE_READERS


def read(request: ReaderRequest) -> ReaderResult:
    """The rows as samples, kept in a temporary file.

    Raises:
        UsageError: No such file.
        UnsupportedError: Not a csv, and pyarrow is not installed.
        InvalidDataError: A broken table, or a cell that is empty or not what the input takes; names row and column.
    """
    path = check_regular_file(request.source)
    result = ReaderResult({}, str(request.source))
    spools: dict[str, Spool] = {}
    auxiliary: dict[str, list[Any]] = {}
    row = 2  # as people count: below the header
    for block in TABLE_READERS[path.suffix.lower()](path):
        size = len(next(iter(block.values())))
        for key in [key for key in block if key in request.auxiliary_keys]:
            auxiliary.setdefault(key, []).extend(block.pop(key))
        for model_input, keys in _match_columns([*block], request, path):
            cells = [_parse_cells(block[key], model_input, f"{path}: column '{key}'", row) for key in keys]
            spool = spools.setdefault(model_input.name, Spool(f"'{model_input.name}' of {path}"))
            rows = cells[0] if keys == [model_input.name] else _stack_features(cells, path)
            for piece in _reshape_rows(rows, model_input):
                spool.append(piece)
        row += size
    result.columns = {name: spool.to_column() for name, spool in spools.items()}
    key = request.labels if isinstance(request.labels, str) else LABELS_KEY
    if key in auxiliary:
        labels, where = auxiliary[key], f"{path}: column '{key}'"
        are_texts = isinstance(labels[0], str)
        result.labels = labeled_folder.parse_labels(labels, where, result.warnings) if are_texts else np.array(labels)
    if isinstance(request.group, str) and request.group in auxiliary:
        result.groups = np.array(auxiliary[request.group])
    return result


def _match_columns(keys: list[str], request: ReaderRequest, path: Path) -> list[tuple[ModelInput, list[str]]]:
    """Which columns feed which input."""
    inputs = {i.name: i for i in request.inputs}
    if len(request.required_inputs) == 1 and request.only_input.name not in keys:
        return [(request.only_input, keys)]
    for key in keys:
        if key not in inputs:
            raise InvalidDataError(
                f"{path}: column '{key}' is not an input of the model, which expects {', '.join(inputs)}",
                hint="remove it, or say that it holds the labels with --labels",
            )
    return [(inputs[key], [key]) for key in keys]


def _parse_cells(cells: ColumnRows, model_input: ModelInput, where: str, row: int) -> ColumnRows:
    """Cells as an array of the kind ``model_input`` takes, as far as that is a matter of spelling."""
    if isinstance(cells, CsvCells):
        return cells.parse(model_input, where, row)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iu" and model_input.number_kind == "floats":
        return cells.astype(np.float64)
    return cells


def _stack_features(cells: list[ColumnRows], path: Path) -> Array:
    """Columns of single values as the features of each row."""
    arrays = [np.asarray(c) for c in cells if isinstance(c, np.ndarray) and c.ndim == 1]
    if not arrays or len(arrays) < len(cells):
        raise InvalidDataError(f"{path}: no column is called like the input, and not all are single numbers")
    return np.stack(arrays, axis=1)


def _reshape_rows(samples: ColumnRows, model_input: ModelInput) -> Iterator[Array]:
    """Rows of one shape at a time, in the input's own shape where it is fixed."""
    dims = [d for d in model_input.sample_dims if isinstance(d, int)]
    is_fixed = len(dims) == len(model_input.sample_dims)
    for piece in [samples] if isinstance(samples, np.ndarray) else (row[None] for row in samples):
        fits = is_fixed and math.prod(piece.shape[1:]) == math.prod(dims)
        yield piece.reshape(len(piece), *dims) if fits else piece


class CsvCells(list[Any]):
    """Cells of a csv, which are text whatever they mean."""

    def parse(self, model_input: ModelInput, where: str, row: int) -> Array:
        """The cells as what the input takes, empty ones as missing where it takes these; ``row`` is the number of the first,
        for errors.
        """
        number_kind = model_input.number_kind
        try:
            if number_kind == "booleans":
                return np.array([_BOOLEANS[cell.strip().lower()] for cell in self])
            is_missing_known = model_input.takes_missing and number_kind == "floats"
            cells = [cell if cell.strip() else "nan" for cell in self] if is_missing_known else self
            return np.array(cells, dtype=_DTYPES[number_kind])
        except (ValueError, KeyError, OverflowError) as error:
            if len(self) > 1:
                for number, cell in enumerate(self):
                    CsvCells([cell]).parse(model_input, where, row + number)
            raise InvalidDataError(f"{where}, row {row}: '{self[0]}', expected {number_kind}") from error


def _read_csv(path: Path) -> Iterator[arrow.TableBlock]:
    with labeled_folder.wrap_csv_errors(path), open(path, newline="", encoding="utf-8-sig") as text:
        lines = (line for line in csv.reader(text) if line)
        header = next(lines, [])
        if len(set(header)) < len(header):
            raise InvalidDataError(f"{path} has two columns of one name")
        start = 2
        while rows := list(islice(lines, arrow.BLOCK_ROWS)):
            wrong_length = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
            if wrong_length is not None:
                raise InvalidDataError(
                    f"{path}: row {start + wrong_length} has {len(rows[wrong_length])} cells, expected {len(header)}"
                )
            yield {key: CsvCells(cells) for key, cells in zip(header, zip(*rows, strict=True), strict=True)}
            start += len(rows)


#: How each kind of table is read, some rows at a time.
TABLE_READERS: dict[str, Callable[[Path], Iterator[arrow.TableBlock]]] = {
    ".csv": _read_csv,
    ".parquet": arrow.read_parquet,
    ".arrow": arrow.read_arrow,
    ".feather": arrow.read_arrow,
}
