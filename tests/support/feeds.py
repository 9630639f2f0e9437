"""The rows that samples feed, as an array or as lists."""

from __future__ import annotations

from typing import Any

import numpy as np


def row_lists(samples: Any, name: str = "x") -> list[Any]:
    return [row for batch in samples.batches(3) for row in batch[name].tolist()]


def rows(samples: Any, name: str = "x") -> np.ndarray:
    return np.concatenate([batch[name] for batch in samples.batches(3)])
