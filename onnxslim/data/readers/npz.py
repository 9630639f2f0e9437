"""An ``.npz`` file of arrays by input name, or an ``.npy`` file for a model with one input.

Samples of different shapes are laid end to end in an array ``NAME`` of one axis, beside ``NAME.shapes``, an integer array
``(samples, rank)``; :func:`pack_ragged` makes both of a list of arrays.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.array_files import open_npy, open_npz
from onnxslim.data.columns import Array, Column, FileColumn, concatenate_columns, read_all
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.model_io.atomic_write import open_draft

SUFFIXES = (".npz", ".npy")
#: What the key of the shapes adds to that of the array.
SHAPES_SUFFIX = ".shapes"


def accepts(source: Any) -> bool:
    """A path that ends in ``.npz`` or ``.npy``."""
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(SUFFIXES)


def read(request: ReaderRequest) -> ReaderResult:
    """The arrays, each a column that is streamed from the file.

    Raises:
        UsageError: No such file.
        InvalidDataError: A broken file, or pickled arrays.
    """
    path = Path(request.source)
    if path.suffix.lower() == ".npz":
        return ReaderResult(_make_columns(open_npz(path), str(request.source)), str(request.source))
    return ReaderResult({request.only_input.name: open_npy(path)}, str(request.source))


def pack_ragged(name: str, samples: Sequence[Array]) -> dict[str, Array]:
    """``samples`` of one dtype and rank as the arrays that hold them in an ``.npz``: one where they share a shape."""
    if len({sample.shape for sample in samples}) == 1:
        return {name: np.stack(samples)}
    flat = np.concatenate([sample.ravel() for sample in samples])
    return {name: flat, name + SHAPES_SUFFIX: np.array([sample.shape for sample in samples], np.int64)}


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write an ``.npz`` file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    target = os.path.abspath(os.fspath(path))
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(buffer, **named)
    with open_draft(os.path.dirname(target)) as draft_file:
        draft_file.write(buffer.getbuffer())
        draft_file.publish(target)


def _make_columns(arrays: Mapping[str, FileColumn | Array], title: str) -> dict[str, Column | Array]:
    """The members, each with its shapes where it has any."""
    columns: dict[str, Column | Array] = {}
    for key, member in arrays.items():
        name = key.removesuffix(SHAPES_SUFFIX)
        if name != key and name in arrays:
            continue
        shapes = arrays.get(key + SHAPES_SUFFIX)
        columns[key] = member if shapes is None else _unpack_ragged(member, shapes, f"'{key}' of {title}")
    return columns


def _unpack_ragged(member: FileColumn | Array, shapes: FileColumn | Array, name: str) -> Column:
    """Samples of the shapes told, out of an array of one axis."""
    sample_shapes = shapes if isinstance(shapes, np.ndarray) else read_all(shapes)
    are_shapes = sample_shapes.ndim == 2 and sample_shapes.dtype.kind in "iu"
    if isinstance(member, np.ndarray) or len(member.shape) != 1 or not are_shapes:
        raise InvalidDataError(
            f"{name}: expected an array of one axis beside integers '…{SHAPES_SUFFIX}' of shape (samples, rank)",
            hint="onnxslim.record writes such files",
        )
    elements = sum(math.prod(row) for row in sample_shapes.tolist())
    if not len(sample_shapes) or sample_shapes.min() < 0 or elements != member.shape[0]:
        raise InvalidDataError(
            f"{name}: its {member.shape[0]} elements are not those of the {len(sample_shapes)} shapes told"
        )
    columns: list[Column] = []
    offset = member.offset
    for shape in sample_shapes.tolist():
        columns.append(replace(member, offset=offset, shape=(1, *shape)))
        offset += math.prod(shape) * member.dtype.itemsize
    return concatenate_columns(columns, [name] * len(columns))
