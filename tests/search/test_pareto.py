from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.search.pareto import pareto_front

VALUES = st.integers(0, 4).map(float) | st.just(float("inf"))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=12))
def test_it_is_what_the_definition_says(rows: list[tuple[float, ...]]) -> None:
    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    finite = [row for row in rows if np.isfinite(row).all()]
    expected = {row for row in finite if not any(dominates(other, row) for other in finite)}
    found = pareto_front(rows)
    assert {rows[index] for index in found} == expected
    assert len(found) == len(expected)


def test_of_equal_rows_the_first_stays() -> None:
    assert pareto_front([(1.0, 2.0), (1.0, 2.0)]) == [0]
