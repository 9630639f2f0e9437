"""A folder of ``.npy`` or ``.npz`` files: one file per sample or batch, or one ``.npy`` per input."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.data import folders, npz
from onnxslim.data.arrayfiles import open_npy, open_npz
from onnxslim.data.columns import Array, ArrayColumn, Column, FileColumn, chained
from onnxslim.data.request import Found, Request
from onnxslim.errors import InvalidDataError


def accepts(source: Any) -> bool:
    """A folder with an ``.npy`` or ``.npz`` file in it or below it."""
    return isinstance(source, (str, os.PathLike)) and folders.holds(Path(source), npz.SUFFIXES)


def read(request: Request) -> Found:
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
    if {i.name for i in request.required} <= by_input.keys() <= inputs | {*request.asides}:
        return Found({key: open_npy(file) for key, file in by_input.items()}, str(request.source))
    found = folders.listing(folder, npz.SUFFIXES, folders.labels_file(request.labels))
    parts: dict[str, list[Column]] = {}
    counts: list[int] = []
    for file in found.files:
        arrays = open_npz(file) if file.suffix.lower() == ".npz" else {request.single.name: open_npy(file)}
        columns, count = _samples(arrays, request)
        if parts and columns.keys() != parts.keys():
            raise InvalidDataError(f"{file} holds {', '.join(columns)}; those before hold {', '.join(parts)}")
        for key, column in columns.items():
            parts.setdefault(key, []).append(column)
        counts.append(count)
    if found.labels is not None:
        found.labels = np.repeat(found.labels, counts)
    found.subfolders = np.repeat(found.subfolders, counts)
    names = [str(file) for file in found.files]
    return folders.answer(found, request, {key: chained(columns, names) for key, columns in parts.items()})


def _samples(arrays: dict[str, FileColumn | Array], request: Request) -> tuple[dict[str, Column], int]:
    """The arrays of one file as columns of samples, and how many these are."""
    names = request.names(arrays)
    inputs = {i.name: i for i in request.inputs if i.dims != ()}
    fed = {names[key]: column for key, column in arrays.items() if names[key] in inputs}
    whole = all(
        isinstance(column, FileColumn) and inputs[key].axis == 0 and inputs[key].whole(column.shape)
        for key, column in fed.items()
    )
    lengths = {len(column) for column in fed.values()} if whole else {1}
    count = lengths.pop() if len(lengths) == 1 else 1
    columns: dict[str, Column] = {}
    for key, column in arrays.items():
        if not isinstance(column, FileColumn):
            columns[names[key]] = ArrayColumn(np.broadcast_to(column, (count,)))
        elif len(column) == count and (whole or names[key] not in inputs):
            columns[names[key]] = column
        else:
            columns[names[key]] = replace(column, shape=(1, *column.shape))
    return columns, count
