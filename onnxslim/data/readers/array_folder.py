"""A folder of ``.npy`` or ``.npz`` files: one file per sample or batch, or one ``.npy`` per input."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.array_files import open_npy, open_npz
from onnxslim.data.columns import Array, ArrayColumn, Column, FileColumn, concatenate_columns
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.readers import labeled_folder, npz


def accepts(source: Any) -> bool:
    """A folder with an ``.npy`` or ``.npz`` file in it or below it."""
    return isinstance(source, (str, os.PathLike)) and labeled_folder.has_files(Path(source), npz.SUFFIXES)


def read(request: ReaderRequest) -> ReaderResult:
    """The files as samples in order of name.

    Files that are called like the inputs hold all samples of one input each. Otherwise a file holds one sample or,
    when its arrays are whole feeds stacked along their first axis, as many as that is long; labels come from the
    sub-folders, a csv, or an array ``labels`` in each file.

    Raises:
        InvalidDataError: A broken file, or files that differ in their keys.
    """
    folder = Path(request.source)
    by_input = {file.stem: file for file in sorted(folder.glob("*.npy"))}
    inputs = {i.name for i in request.inputs}
    if {i.name for i in request.required_inputs} <= by_input.keys() <= inputs | {*request.auxiliary_keys}:
        return ReaderResult({key: open_npy(file) for key, file in by_input.items()}, str(request.source))
    table = labeled_folder.resolve_labels_file(request.labels)
    listing = labeled_folder.list_files(folder, npz.SUFFIXES, table, request.input_configs)
    parts: dict[str, list[Column]] = {}
    counts: list[int] = []
    for file in listing.files:
        arrays = open_npz(file) if file.suffix.lower() == ".npz" else {request.only_input.name: open_npy(file)}
        columns, count = _make_columns(arrays, request)
        if parts and columns.keys() != parts.keys():
            raise InvalidDataError(f"{file} holds {', '.join(columns)}; those before hold {', '.join(parts)}")
        for key, column in columns.items():
            parts.setdefault(key, []).append(column)
        counts.append(count)
    if listing.labels is not None:
        listing.labels = np.repeat(listing.labels, counts)
    listing.subfolders = np.repeat(listing.subfolders, counts)
    names = [str(file) for file in listing.files]
    return labeled_folder.build_reader_result(
        listing, request, {key: concatenate_columns(columns, names) for key, columns in parts.items()}
    )


def _make_columns(arrays: dict[str, FileColumn | Array], request: ReaderRequest) -> tuple[dict[str, Column], int]:
    """The arrays of one file as columns of samples, and how many these are."""
    names = request.map_to_inputs(arrays)
    inputs = {i.name: i for i in request.inputs if i.dims != ()}
    input_columns = {names[key]: column for key, column in arrays.items() if names[key] in inputs}
    is_whole_feed = all(
        isinstance(column, FileColumn) and inputs[key].axis == 0 and inputs[key].is_whole_feed(column.shape)
        for key, column in input_columns.items()
    )
    lengths = {len(column) for column in input_columns.values()} if is_whole_feed else {1}
    count = lengths.pop() if len(lengths) == 1 else 1
    columns: dict[str, Column] = {}
    for key, column in arrays.items():
        if not isinstance(column, FileColumn):
            columns[names[key]] = ArrayColumn(np.broadcast_to(column, (count,)))
        elif len(column) == count and (is_whole_feed or names[key] not in inputs):
            columns[names[key]] = column
        else:
            columns[names[key]] = replace(column, shape=(1, *column.shape))
    return columns, count
