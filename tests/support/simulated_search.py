"""A search whose trials are computed from a formula, in no time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from onnxslim.search.candidate import Candidate, CandidateResult, SearchState
from onnxslim.search.next_candidate import choose_next_candidate


def search(
    drop: Callable[[Candidate], float],
    *,
    limit: float | None = 0.01,
    budget: float = 1e6,
    cost: Callable[[Candidate], float] = lambda point: 10.0,
    score: Callable[[Candidate], float] = lambda point: (
        {"int8": 2.0, "weights": 1.5}.get(point.scheme or "", 1.0) / (1 - 0.9 * point.pruning_ratio)
    ),
    learns: bool = False,
    narrow: bool = False,
    mixed: bool = False,
    activations: str | None = None,
    speedup: Callable[[Candidate], float] = lambda point: math.nan,
) -> list[CandidateResult]:
    """Everything that is tried on a model whose figures are functions of the point."""
    seen: list[CandidateResult] = []
    while len(seen) < 60:
        left = budget - sum(o.seconds for o in seen)
        state = SearchState(
            limit, left, 100.0 if learns else 0.0, has_int4_layers=narrow, has_mixed_weights=mixed,
            has_dynamic_layers=activations is not None,
        )  # fmt: skip
        point = choose_next_candidate(seen, state)
        if point is None:
            return seen
        assert point not in {o.candidate for o in seen}, "the same thing twice"
        chosen = {"int8": activations, "static": "static", "dynamic": "dynamic"}.get(point.scheme or "")
        seen.append(
            CandidateResult(point, drop(point), score(point), cost(point), speedup(point), math.nan, activations=chosen)
        )
    pytest.fail("the search does not end")


def best(seen: list[CandidateResult], limit: float = 0.01) -> Candidate:
    """The point with the best score among those that pass."""
    return max((o for o in seen if o.drop <= limit), key=lambda o: o.score).candidate
