"""Numbers of the right kind: what may be cast to a model's element type, and the cast itself.

Nothing is cast from one kind to another: an integer array for a float input is, more often than not, an image whose
normalisation was forgotten. Within a kind floats are rounded to the model's width and integers must fit into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxslim.data.inputs import Array, Input
from onnxslim.errors import InvalidDataError

#: The kinds of numpy by letter, as :attr:`Input.family` calls them.
_FAMILIES = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans", "U": "strings"}


def check_kind(wanted: Input, dtype: np.dtype[Any], where: str) -> None:
    """Raise unless numbers of ``dtype`` may be cast for ``wanted``: floats to floats, integers to integers, and so on.

    Raises:
        InvalidDataError: Another kind; the message names ``where``.
    """
    if dtype.kind == "O":
        raise InvalidDataError(
            f"{where} holds Python objects, which are never read", hint="store arrays of one numeric dtype"
        )
    if _FAMILIES.get(dtype.kind) != wanted.family:
        hint = f"convert it yourself, e.g. array.astype('{wanted.dtype.name.lower()}')"
        if dtype == np.uint8 and wanted.family == "floats":
            hint = "images must be scaled and normalised as in training; an image folder with --preprocess does that"
        raise InvalidDataError(f"{where} is {dtype.name}, expected {wanted.dtype.name.lower()}", hint=hint)


def cast(wanted: Input, rows: Array, where: str, positions: Sequence[int]) -> Array:
    """``rows`` (samples along the first axis) in the element type of ``wanted``, C-contiguous.

    Args:
        wanted: The input the rows are for.
        rows: Samples along the first axis.
        where: What to call the array in errors.
        positions: The index of each row in its source, for errors.

    Raises:
        InvalidDataError: NaN, infinity or a number that the element type cannot hold; names the first such sample.
    """
    if wanted.family == "strings":
        return rows
    target = wanted.dtype.numpy()
    if wanted.family == "floats":
        with np.errstate(over="ignore", invalid="ignore"):
            made = np.ascontiguousarray(rows, dtype=target)
        good = np.isfinite(made)
    else:
        made = np.ascontiguousarray(rows, dtype=target)
        good = made == rows if made.dtype != rows.dtype else np.True_
    if not np.all(good):
        first = int(np.flatnonzero(~good.reshape(len(rows), -1).all(axis=1))[0])
        value = rows[first][~good[first]].flat[0] if rows.ndim > 1 else rows[first]
        raise InvalidDataError(
            f"{where}: sample {positions[first]} holds {value}, expected finite {wanted.dtype.name.lower()} numbers"
        )
    return made
