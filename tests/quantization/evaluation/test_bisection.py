"""The costliest tensors are found by halves, in the order of their cost where there are trials enough."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.quantization.evaluation.bisection import bisect_sensitive_tensors


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=16), st.integers(2, 64))
def test_sets_grow_by_what_mends_most_and_no_more_is_tried_than_allowed(costs: list[int], trials: int) -> None:
    names = [f"t{i}" for i in range(len(costs))]
    asked: list[frozenset[str]] = []

    def error(kept_float: frozenset[str]) -> float:
        asked.append(kept_float)
        return float(sum(cost for name, cost in zip(names, costs, strict=True) if name not in kept_float))

    sets = list(bisect_sensitive_tensors(names, error, trials))
    assert len(asked) <= trials
    assert sets[0] == frozenset()
    assert sets[-1] == frozenset(names)
    assert all(a < b for a, b in pairwise(sets))
    if trials >= 4 * len(names):
        order = [costs[names.index(next(iter(b - a)))] for a, b in pairwise(sets)]
        assert order == sorted(costs, reverse=True)


def test_of_nothing_nothing_is_asked() -> None:
    assert list(bisect_sensitive_tensors([], lambda _: 1 / 0)) == []
