"""The Pareto front: what nothing else beats in every respect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[Sequence[float | None]]) -> list[int]:
    """Indices of the rows that no other row dominates: none is at most as large everywhere and smaller somewhere.

    Of equal rows the first stays. Ascending.

    Args:
        costs: Shape (n, k); smaller is better in every column. A row with a value that is None or not finite is never in
            it.
    """
    rows = np.array(costs, np.float64, ndmin=2)
    finite = np.asarray(np.isfinite(rows).all(1))
    on_front = []
    for index in range(len(costs)):
        row, others = rows[index], rows[finite]
        dominated = bool(((others <= row).all(1) & (others < row).any(1)).any())
        if finite[index] and not dominated and not (rows[:index] == row).all(1).any():
            on_front.append(index)
    return on_front
