"""The share at which the gate is met: predicted, and closed in on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.search.candidate import Candidate, CandidateResult, SearchState
from onnxslim.search.pruning_ratio import choose_next_ratio, predict_ratio
from tests.support.simulated_search import best, search


def test_learning_starts_at_the_share_from_which_it_should_come_back() -> None:
    # a drop that grows with the cube of the share, a quarter of which learning leaves: two shares tell that 0.76 will do
    seen = search(lambda point: 0.09 * point.pruning_ratio**3 * (1 / 4 if point.recovery_seconds else 1.0), learns=True)
    first = next(o.candidate for o in seen if o.candidate.recovery_seconds)
    plain = [o.candidate.pruning_ratio for o in seen if not o.candidate.recovery_seconds and o.candidate.pruning_ratio]
    assert first.pruning_ratio == pytest.approx((0.01 * 4 / 0.09) ** (1 / 3), abs=0.011)
    assert plain[:3] == [0.2, 0.4, 0.6]
    assert best(seen) == first


@pytest.mark.parametrize(
    ("most", "tried"),
    [(0.0, [0.2]), (0.03, [0.2]), (0.08, [0.2, 0.08]), (0.159, [0.2, 0.1, 0.15]), (0.5, [0.2, 0.4, 0.6, 0.5])],
)
def test_no_more_is_asked_for_than_is_known_to_be_prunable(most: float, tried: list[float]) -> None:
    results: list[CandidateResult] = []
    ratio: float | None = 0.0
    while ratio is not None:
        fails = ratio > most
        score = 0.0 if fails else 1 + ratio
        results.append(
            CandidateResult(Candidate(ratio), math.inf if fails else 0.0, score, 1.0, prunable_share=most if fails else None)
        )
        ratio = choose_next_ratio(results, SearchState(0.01, 1e6))
    assert [o.candidate.pruning_ratio for o in results] == [0.0, *tried]


@given(st.lists(st.integers(2, 90), min_size=1, max_size=6, unique=True), st.integers(0, 90))
def test_a_cut_that_passed_is_not_made_again_for_a_share_that_it_took_too(cuts: list[int], limit: int) -> None:
    """Few channels can go together: asked for a share, the least cut of at least so much is made."""
    results, made = [CandidateResult(Candidate(), 0.0, 1.0, 1.0)], list[int]()
    while (ratio := choose_next_ratio(results, SearchState(0.01, 1e6))) is not None:
        cut = min((one for one in cuts if one >= round(100 * ratio)), default=None)
        drop = math.inf if cut is None else 0.01 * cut / (limit + 0.5)
        reached = None if cut is None else cut / 100
        results.append(CandidateResult(Candidate(ratio), drop, 1 + ratio, 1.0, reached_share=reached))
        made += [] if cut is None else [cut]
        assert len(results) < 20
    passing = [cut for cut in made if cut <= limit]
    assert len(passing) == len(set(passing))


def test_beyond_what_a_training_has_shown_only_half_of_the_promise_counts() -> None:
    wanted = SearchState(0.01, 1e6, 100.0)
    plain = [CandidateResult(Candidate(share), drop, 1.0, 10.0) for share, drop in ((0.0, 0.0), (0.2, 0.005), (0.4, 0.025))]
    first = predict_ratio(plain, plain, wanted)
    assert first is not None
    assert 0.4 < first < 0.6
    shown = CandidateResult(Candidate(first, recovery_seconds=100.0), 0.005, 1.0, 110.0)
    second = predict_ratio(plain, [*plain, shown], wanted)
    assert second is not None
    power = math.log(5) / math.log(2)
    whole = 0.4 * (0.01 / (0.005 / (0.025 * (first / 0.4) ** power)) / 0.025) ** (1 / power)
    assert second == pytest.approx((first + whole) / 2)
    missed = CandidateResult(Candidate(first, recovery_seconds=100.0), 0.02, 1.0, 110.0)
    nearer = predict_ratio(plain, [*plain, missed], wanted)
    assert nearer is not None
    assert nearer < first
