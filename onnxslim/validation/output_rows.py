"""An output as rows, one a sample."""

from __future__ import annotations

import numpy as np

from onnxslim.core.errors import UsageError


class NoRowsError(UsageError):
    """An output has no row a sample: a mean over the batch, or one list of what was found in all of it."""


def as_rows(name: str, values: np.ndarray, n: int) -> np.ndarray:
    """Output ``name`` with the sample on the first axis; of one sample, an output of any shape is its only row.

    Raises:
        NoRowsError: Several samples and not one row each.
    """
    if values.ndim and len(values) == n:
        return values
    if n == 1:
        return values[None]
    raise NoRowsError(
        f"output {name} has shape {values.shape} for {n} samples: expected one row per sample",
        hint="name another with --output, or use --batch-size 1",
    )
