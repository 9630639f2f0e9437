"""Who is shown the confirm data."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from onnxslim.search.candidate import Candidate
from onnxslim.search.finalists import MAX_FINALISTS, is_dominated, select_finalists


@dataclass(eq=False)
class Tried:
    """A trial as far as it is asked about."""

    candidate: Candidate
    drop: float
    score: float
    passes: bool = True
    error: str | None = None


EXACT = Tried(Candidate(scheme=None), 0.0, 1.0)


def test_what_prunes_nothing_is_asked_before_the_exact_steps_however_kind_tune_was() -> None:
    """A search on 51 images without labels: pruning seemed to cost nothing there, and three points on others."""
    int8 = Tried(Candidate(), 0.0003, 7.0)
    narrow = Tried(Candidate(scheme="narrow"), 0.0003, 9.0)
    pruned = [Tried(Candidate(s, "narrow"), d, 100 * s) for s, d in ((0.1, 0.0), (0.14, 0.009), (0.17, 0.004))]
    assert select_finalists([EXACT, int8, narrow, *pruned]) == [pruned[2], pruned[0], narrow, EXACT]


def test_of_many_shares_that_pass_the_last_finalist_is_not_pruned() -> None:
    int8 = Tried(Candidate(), 0.004, 2.0)
    pruned = [Tried(Candidate(0.8 / 2**i), 0.005 / 3**i, 10.0 - i) for i in range(4)]
    assert select_finalists([EXACT, int8, *pruned]) == [pruned[0], pruned[1], int8, EXACT]


def test_failed_trials_are_not_there_and_those_that_missed_a_gate_come_last() -> None:
    failed = Tried(Candidate(0.4), float("inf"), 50.0, passes=False, error="it failed")
    missed = Tried(Candidate(0.2), 0.02, 40.0, passes=False)
    int8 = Tried(Candidate(), 0.001, 2.0)
    assert select_finalists([EXACT, int8, missed, failed]) == [int8, EXACT]


TRIED = st.builds(
    Tried,
    st.builds(Candidate, st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.8]), st.sampled_from(["int8", "narrow"])),
    st.floats(0, 0.02),
    st.floats(0.5, 20),
    st.booleans(),
)


@given(st.lists(TRIED, max_size=8))
def test_few_are_asked_the_best_first_and_the_exact_steps_always(others: list[Tried]) -> None:
    trials = [EXACT, *others]
    found = select_finalists(trials)
    assert EXACT in found
    assert len(found) <= MAX_FINALISTS + 1
    assert found[0].passes
    assert found[0].score == max(trial.score for trial in trials if trial.passes)
    assert any(not trial.candidate.pruning_ratio for trial in found)
    assert not any(is_dominated(trial, other) for trial in found if trial is not EXACT for other in trials)
