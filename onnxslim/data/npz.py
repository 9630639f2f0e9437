"""An ``.npz`` file of arrays by input name, or an ``.npy`` file for a model with one input.

Samples of different shapes are laid end to end in an array ``NAME`` of one axis, beside ``NAME.shapes``, an integer array
``(samples, rank)``; :func:`ragged` makes both of a list of arrays.
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

from onnxslim.data.arrayfiles import open_npy, open_npz
from onnxslim.data.columns import Array, Column, FileColumn, chained, whole
from onnxslim.data.request import Found, Request
from onnxslim.errors import InvalidDataError
from onnxslim.files.atomic import draft

SUFFIXES = (".npz", ".npy")
#: What the key of the shapes adds to that of the array.
SHAPES = ".shapes"


def accepts(source: Any) -> bool:
    """A path that ends like one."""
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).lower().endswith(SUFFIXES)


def read(request: Request) -> Found:
    """The arrays, each a column that is streamed from the file.

    Raises:
        UsageError: No such file.
        InvalidDataError: A broken file, or pickled arrays.
    """
    path = Path(request.source)
    if path.suffix.lower() == ".npz":
        return Found(_columns(open_npz(path), str(request.source)), str(request.source))
    return Found({request.single.name: open_npy(path)}, str(request.source))


def ragged(name: str, samples: Sequence[Array]) -> dict[str, Array]:
    """``samples`` of one dtype and rank as the arrays that hold them in an ``.npz``: one where they share a shape."""
    if len({sample.shape for sample in samples}) == 1:
        return {name: np.stack(samples)}
    flat = np.concatenate([sample.ravel() for sample in samples])
    return {name: flat, name + SHAPES: np.array([sample.shape for sample in samples], np.int64)}


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """Write an ``.npz`` file, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    target = os.path.abspath(os.fspath(path))
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(buffer, **named)
    with draft(os.path.dirname(target)) as new:
        new.write(buffer.getbuffer())
        new.publish(target)


def _columns(arrays: Mapping[str, FileColumn | Array], title: str) -> dict[str, Column | Array]:
    """The members, each with its shapes where it has any."""
    found: dict[str, Column | Array] = {}
    for key, member in arrays.items():
        name = key.removesuffix(SHAPES)
        if name != key and name in arrays:
            continue
        shapes = arrays.get(key + SHAPES)
        found[key] = member if shapes is None else _laid_end_to_end(member, shapes, f"'{key}' of {title}")
    return found


def _laid_end_to_end(member: FileColumn | Array, shapes: FileColumn | Array, name: str) -> Column:
    """Samples of the shapes told, out of an array of one axis."""
    told = shapes if isinstance(shapes, np.ndarray) else whole(shapes)
    if isinstance(member, np.ndarray) or len(member.shape) != 1 or told.ndim != 2 or told.dtype.kind not in "iu":
        raise InvalidDataError(
            f"{name}: expected an array of one axis beside integers '…{SHAPES}' of shape (samples, rank)",
            hint="onnxslim.record writes such files",
        )
    if not len(told) or told.min() < 0 or sum(math.prod(row) for row in told.tolist()) != member.shape[0]:
        raise InvalidDataError(f"{name}: its {member.shape[0]} elements are not those of the {len(told)} shapes told")
    columns: list[Column] = []
    offset = member.offset
    for shape in told.tolist():
        columns.append(replace(member, offset=offset, shape=(1, *shape)))
        offset += math.prod(shape) * member.dtype.itemsize
    return chained(columns, [name] * len(columns))
