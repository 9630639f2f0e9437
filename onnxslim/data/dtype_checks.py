"""Numbers of the right kind: what may be cast to a model's element type, and the cast itself.

Nothing is cast from one kind to another: an integer array for a float input is, more often than not, an image whose
normalisation was forgotten. Within a kind floats are rounded to the model's width and integers must fit into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.model_inputs import Array, ModelInput

#: The kinds of numpy by letter, as :attr:`Input.family` calls them.
_NUMBER_KINDS = {"f": "floats", "i": "integers", "u": "integers", "b": "booleans", "U": "strings"}


def check_kind(model_input: ModelInput, dtype: np.dtype[Any], where: str) -> None:
    """Raise unless numbers of ``dtype`` may be cast for ``model_input``: floats to floats, integers to integers, and so on.

    Raises:
        InvalidDataError: Another kind; the message names ``where``.
    """
    if dtype.kind == "O":
        raise InvalidDataError(
            f"{where} holds Python objects, which are never read", hint="store arrays of one numeric dtype"
        )
    if _NUMBER_KINDS.get(dtype.kind) != model_input.number_kind:
        hint = f"convert it yourself, e.g. array.astype('{model_input.dtype.name.lower()}')"
        if dtype == np.uint8 and model_input.number_kind == "floats":
            hint = "images must be scaled and normalised as in training; an image folder with --preprocess does that"
        raise InvalidDataError(f"{where} is {dtype.name}, expected {model_input.dtype.name.lower()}", hint=hint)


def cast(model_input: ModelInput, rows: Array, where: str, positions: Sequence[int]) -> Array:
    """``rows`` (samples along the first axis) in the element type of ``model_input``, C-contiguous.

    Args:
        model_input: The input the rows are for.
        rows: Samples along the first axis.
        where: What to call the array in errors.
        positions: The index of each row in its source, for errors.

    Raises:
        InvalidDataError: Infinity, a NaN that the model does not ask for, or a number that the element type cannot hold;
            names the first such sample.
    """
    if model_input.number_kind == "strings":
        return rows
    target = model_input.dtype.numpy()
    if model_input.number_kind == "floats":
        with np.errstate(over="ignore", invalid="ignore"):
            converted = np.ascontiguousarray(rows, dtype=target)
        valid = np.isfinite(converted) | np.isnan(rows) if model_input.takes_missing else np.isfinite(converted)
    else:
        converted = np.ascontiguousarray(rows, dtype=target)
        valid = converted == rows if converted.dtype != rows.dtype else np.True_
    if not np.all(valid):
        first = int(np.flatnonzero(~valid.reshape(len(rows), -1).all(axis=1))[0])
        value = rows[first][~valid[first]].flat[0] if rows.ndim > 1 else rows[first]
        raise InvalidDataError(
            f"{where}: sample {positions[first]} holds {value}, expected finite {model_input.dtype.name.lower()} numbers"
        )
    return converted
