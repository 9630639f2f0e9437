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

from onnxslim.data import arrow, folders
from onnxslim.data.arrayfiles import regular
from onnxslim.data.columns import Array, Rows
from onnxslim.data.inputs import Input
from onnxslim.data.request import LABELS, Found, Request
from onnxslim.data.spool import Spool
from onnxslim.errors import InvalidDataError

_DTYPES = {"floats": np.float64, "integers": np.int64, "strings": np.str_}
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def accepts(source: Any) -> bool:
    """A path that ends like a table."""
    return isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() in FORMATS


def read(request: Request) -> Found:
    """The rows as samples, kept in a temporary file.

    Raises:
        UsageError: No such file.
        UnsupportedError: Not a csv, and pyarrow is not installed.
        InvalidDataError: A broken table, or a cell that is empty or not what the input takes; names row and column.
    """
    path = regular(request.source)
    found = Found({}, str(request.source))
    spools: dict[str, Spool] = {}
    asides: dict[str, list[Any]] = {}
    row = 2  # as people count: below the header
    for block in FORMATS[path.suffix.lower()](path):
        size = len(next(iter(block.values())))
        for key in [key for key in block if key in request.asides]:
            asides.setdefault(key, []).extend(block.pop(key))
        for wanted, keys in _plan([*block], request, path):
            cells = [_numbers(block[key], wanted, f"{path}: column '{key}'", row) for key in keys]
            spool = spools.setdefault(wanted.name, Spool(f"'{wanted.name}' of {path}"))
            for piece in _shaped(cells[0] if keys == [wanted.name] else _side_by_side(cells, path), wanted):
                spool.append(piece)
        row += size
    found.columns = {name: spool.column() for name, spool in spools.items()}
    key = request.labels if isinstance(request.labels, str) else LABELS
    if key in asides:
        found.labels = _labels(asides[key], f"{path}: column '{key}'", found.warnings)
    if isinstance(request.group, str) and request.group in asides:
        found.groups = np.array(asides[request.group])
    return found


def _plan(keys: list[str], request: Request, path: Path) -> list[tuple[Input, list[str]]]:
    """Which columns feed which input."""
    inputs = {i.name: i for i in request.inputs}
    if len(request.required) == 1 and request.single.name not in keys:
        return [(request.single, keys)]
    for key in keys:
        if key not in inputs:
            raise InvalidDataError(
                f"{path}: column '{key}' is not an input of the model, which expects {', '.join(inputs)}",
                hint="remove it, or say that it holds the labels with --labels",
            )
    return [(inputs[key], [key]) for key in keys]


def _numbers(cells: Rows, wanted: Input, where: str, row: int) -> Rows:
    """Cells as an array of the kind ``wanted`` takes, as far as that is a matter of spelling."""
    if isinstance(cells, Text):
        return cells.parsed(wanted.family, where, row)
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iu" and wanted.family == "floats":
        return cells.astype(np.float64)
    return cells


def _side_by_side(cells: list[Rows], path: Path) -> Array:
    """Columns of single values as the features of each row."""
    arrays = [np.asarray(c) for c in cells if isinstance(c, np.ndarray) and c.ndim == 1]
    if not arrays or len(arrays) < len(cells):
        raise InvalidDataError(f"{path}: no column is called like the input, and not all are single numbers")
    return np.stack(arrays, axis=1)


def _shaped(samples: Rows, wanted: Input) -> Iterator[Array]:
    """Rows of one shape at a time, in the input's own shape where it is fixed."""
    dims = [d for d in wanted.sample_dims if isinstance(d, int)]
    fixed = len(dims) == len(wanted.sample_dims)
    for piece in [samples] if isinstance(samples, np.ndarray) else (row[None] for row in samples):
        fits = fixed and math.prod(piece.shape[1:]) == math.prod(dims)
        yield piece.reshape(len(piece), *dims) if fits else piece


def _labels(cells: list[Any], where: str, warnings: list[str]) -> Array:
    return folders.classes(cells, where, warnings) if isinstance(cells[0], str) else np.array(cells)


class Text(list[Any]):
    """Cells of a csv, which are text whatever they mean."""

    def parsed(self, family: str, where: str, row: int) -> Array:
        """The cells as what the input takes; ``row`` is the number of the first, for errors."""
        try:
            if family == "booleans":
                return np.array([_TRUTH[cell.strip().lower()] for cell in self])
            return np.array(self, dtype=_DTYPES[family])
        except (ValueError, KeyError, OverflowError) as error:
            if len(self) > 1:
                for number, cell in enumerate(self):
                    Text([cell]).parsed(family, where, row + number)
            raise InvalidDataError(f"{where}, row {row}: '{self[0]}', expected {family}") from error


def _csv(path: Path) -> Iterator[arrow.Block]:
    with folders.decoding(path), open(path, newline="", encoding="utf-8-sig") as text:
        lines = (line for line in csv.reader(text) if line)
        header = next(lines, [])
        if len(set(header)) < len(header):
            raise InvalidDataError(f"{path} has two columns of one name")
        start = 2
        while rows := list(islice(lines, arrow.BLOCK)):
            short = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
            if short is not None:
                raise InvalidDataError(
                    f"{path}: row {start + short} has {len(rows[short])} cells, expected {len(header)}"
                )
            yield {key: Text(cells) for key, cells in zip(header, zip(*rows, strict=True), strict=True)}
            start += len(rows)


#: How each kind of table is read, some rows at a time.
FORMATS: dict[str, Callable[[Path], Iterator[arrow.Block]]] = {
    ".csv": _csv,
    ".parquet": arrow.parquet,
    ".arrow": arrow.arrow,
    ".feather": arrow.arrow,
}
