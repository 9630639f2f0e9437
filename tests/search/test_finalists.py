"""Who is shown the confirm data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.search.candidate import Candidate
from onnxslim.search.finalists import (
    MAX_CONFIRM_READS,
    count_open_reads,
    has_good_successor,
    is_dominated,
    is_hardly_better,
    is_hopeless,
    is_needed,
    predict_confirm_drop,
    rank,
    select_finalists,
    step_down,
)


@dataclass(eq=False)
class Tried:
    """A trial as far as it is asked about."""

    candidate: Candidate
    drop: float
    score: float
    passes: bool = True
    may_pass: bool = field(default=True)
    speedup: float = 1.0
    error: str | None = None
    allowance: float = 0.0
    confirm_drop: float | None = None
    doubt: float = 0.0

    @property
    def seen_drop(self) -> float:
        """What was seen, without what is allowed for its uncertainty."""
        return self.drop - self.allowance

    @property
    def least_drop(self) -> float:
        """What is proven of it."""
        return self.seen_drop - self.doubt


EXACT = Tried(Candidate(scheme=None), 0.0, 1.05)
WEIGHTS = Tried(Candidate(scheme="weights"), 0.0001, 3.9)


def test_what_prunes_nothing_is_asked_before_the_exact_steps_however_kind_tune_was() -> None:
    """A search on 51 images without labels: pruning seemed to cost nothing there, and three points on others."""
    int8 = Tried(Candidate(), 0.0003, 7.0)
    narrow = Tried(Candidate(scheme="narrow"), 0.0003, 9.0)
    pruned = [Tried(Candidate(s, "narrow"), d, 100 * s) for s, d in ((0.1, 0.0), (0.14, 0.009), (0.17, 0.004))]
    found = select_finalists([EXACT, WEIGHTS, int8, narrow, *pruned])
    assert found == [pruned[2], pruned[0], narrow, WEIGHTS, EXACT]


def test_more_int8_weights_than_tune_can_clear_come_before_those_that_it_did_and_never_instead_of_them() -> None:
    bolder = Tried(Candidate(scheme="weights", milder=-40), 0.012, 3.7, passes=False, allowance=0.005)
    chosen = Tried(Candidate(scheme="weights"), 0.009, 2.5)
    assert select_finalists([EXACT, chosen, bolder]) == [bolder, chosen, EXACT]
    hardly_smaller = Tried(Candidate(scheme="weights", milder=-2), 0.012, 2.6, passes=False, allowance=0.005)
    assert select_finalists([EXACT, chosen, hardly_smaller])[0] is chosen


def test_a_bolder_placement_that_gains_what_a_clock_leaves_open_is_not_worth_it_and_takes_nothing_away() -> None:
    chosen = Tried(Candidate(), 0.0003, 8.55)
    hardly, clearly = (Tried(Candidate(milder=-1), 0.0003, score) for score in (8.85, 9.4))
    assert select_finalists([EXACT, WEIGHTS, chosen, hardly])[0] is chosen
    assert select_finalists([EXACT, WEIGHTS, chosen, clearly])[0] is clearly
    assert is_needed(chosen, [EXACT, WEIGHTS, chosen, clearly]), "the bolder one may fail on the confirm data"


def test_a_few_per_cent_are_not_worth_ten_times_the_drop() -> None:
    int8 = Tried(Candidate(scheme="narrow"), 0.0003, 8.6)
    assert select_finalists([EXACT, WEIGHTS, int8, Tried(Candidate(0.05, "narrow"), 0.003, 9.5)])[0] is int8
    for worth in (Tried(Candidate(0.3, "narrow"), 0.003, 11.0), Tried(Candidate(0.05, "narrow"), 0.0009, 9.5)):
        assert select_finalists([EXACT, WEIGHTS, int8, worth])[0] is worth


def test_of_many_shares_that_pass_the_last_before_the_surest_is_not_pruned() -> None:
    int8 = Tried(Candidate(), 0.004, 4.5)
    pruned = [Tried(Candidate(0.8 / 2**i), 0.005 / 3**i, 10.0 - i) for i in range(4)]
    assert select_finalists([EXACT, WEIGHTS, int8, *pruned]) == [pruned[0], pruned[1], int8, WEIGHTS, EXACT]


def test_what_failed_or_gains_nothing_is_not_asked() -> None:
    failed = Tried(Candidate(0.4), float("inf"), 50.0, passes=False, may_pass=False, error="it failed")
    missed = Tried(Candidate(0.2), 0.02, 40.0, passes=False, may_pass=False)
    int8 = Tried(Candidate(), 0.001, 2.0)
    assert select_finalists([EXACT, int8, missed, failed]) == [int8, EXACT]
    useless = Tried(Candidate(scheme=None), 0.0, 1.0, may_pass=False)
    assert select_finalists([useless, missed, failed]) == []


def test_pruning_that_is_too_uncertain_is_asked_behind_what_is_not_and_before_nothing_the_mildest_first() -> None:
    daring = Tried(Candidate(0.4), 0.016, 8.0, passes=False)
    milder = Tried(Candidate(0.3), 0.012, 5.0, passes=False)
    assert select_finalists([EXACT, daring, milder]) == [milder, EXACT]
    assert select_finalists([EXACT, WEIGHTS, daring]) == [WEIGHTS, EXACT], "there is something surer"


def test_what_prunes_nothing_is_asked_for_what_it_gains_though_few_samples_cannot_prove_it() -> None:
    int8 = Tried(Candidate(), 0.016, 8.0, passes=False)
    dynamic = Tried(Candidate(scheme="dynamic"), 0.004, 5.0)
    assert select_finalists([EXACT, WEIGHTS, int8]) == [int8, WEIGHTS, EXACT]
    assert select_finalists([EXACT, WEIGHTS, int8, dynamic]) == [int8, dynamic, WEIGHTS, EXACT]


def test_a_few_per_cent_are_not_worth_a_drop_that_was_seen() -> None:
    """4-bit layers that make a file 6 % smaller and drop too much on tune, beside int8 that dropped nothing there."""
    int8 = Tried(Candidate(), 0.0, 8.0, speedup=2.18)
    narrow = Tried(Candidate(scheme="narrow"), 0.018, 8.5, passes=False, speedup=2.2)
    assert rank([narrow, int8]) == [int8, narrow]
    assert rank([Tried(narrow.candidate, 0.018, 12.0, passes=False), int8])[1] is int8, "half as much again is"


def test_of_scores_that_no_clock_can_tell_apart_the_fastest_comes_first() -> None:
    smaller, faster = Tried(Candidate(), 0.0, 4.0, speedup=1.0), Tried(Candidate(scheme="dynamic"), 0.0, 3.95, speedup=2.0)
    far = Tried(Candidate(scheme="weights"), 0.0, 3.0, speedup=9.0)
    assert rank([smaller, far, faster]) == [faster, smaller, far]


TRIED = st.builds(
    Tried,
    st.builds(Candidate, st.sampled_from([0.0, 0.1, 0.2, 0.4, 0.8]), st.sampled_from(["int8", "narrow", "weights"])),
    st.floats(0, 0.02),
    st.floats(0.5, 20),
    st.booleans(),
    st.booleans(),
    st.floats(0.5, 4),
).filter(lambda trial: trial.candidate != WEIGHTS.candidate)
TRIALS = st.lists(TRIED, max_size=8, unique_by=lambda trial: trial.candidate)


@given(TRIALS)
def test_few_are_asked_and_the_exact_steps_always(others: list[Tried]) -> None:
    trials = [EXACT, *others]
    found = select_finalists(trials)
    assert found[-1] is EXACT
    assert len(found) == len(set(map(id, found))) <= MAX_CONFIRM_READS
    assert all(trial.may_pass for trial in found)
    assert not any(is_dominated(trial, other) for trial in found[:-1] for other in trials)
    worth = [t for t in trials if not any(is_hardly_better(t, other) for other in trials if other.may_pass)]
    scores = [t.score for t in worth if t.may_pass and t.passes and t.score > EXACT.score]
    assert not scores or found[0].score >= 0.98 * max(scores)
    assert all(is_needed(trial, trials) for trial in found), "the models of finalists are kept"


@given(TRIALS, st.integers(1, MAX_CONFIRM_READS))
def test_stepping_down_reads_the_confirm_data_no_more_often_and_keeps_the_surest(others: list[Tried], reads: int) -> None:
    queue = select_finalists([EXACT, WEIGHTS, *others])[reads:]
    milder = Tried(Candidate(milder=1), 0.001, 3.0)
    found = step_down(queue, Tried(Candidate(), 0.002, 9.0), milder, reads)
    assert reads + len(found) <= MAX_CONFIRM_READS
    assert [t for t in queue if t in (EXACT, WEIGHTS)] == [t for t in found if t in (EXACT, WEIGHTS)]


def test_what_lost_much_less_and_gains_as_much_comes_before_anything_milder_is_made() -> None:
    failed, learned = Tried(Candidate(0.6), 0.005, 9.0), Tried(Candidate(0.6, recovery_seconds=60.0), 0.001, 8.9)
    assert has_good_successor([learned, WEIGHTS, EXACT], failed)
    assert not has_good_successor([WEIGHTS, EXACT], failed), "the surest is for the last"
    assert not has_good_successor([], failed)
    assert not has_good_successor([Tried(Candidate(0.6), 0.004, 8.9)], failed)
    assert not has_good_successor([Tried(Candidate(0.2), 0.001, 5.0)], failed)


def test_what_prunes_at_most_half_as_much_and_gains_nearly_as_much_comes_before_anything_made_anew() -> None:
    pruned, int8 = Tried(Candidate(0.24), 0.0014, 6.0), Tried(Candidate(), 0.0014, 5.4)
    assert has_good_successor([int8, EXACT], pruned)
    int8.score = 5.0
    assert not has_good_successor([int8, EXACT], pruned)


def test_something_milder_does_not_go_before_what_is_gentler_and_gains_more() -> None:
    """Made of a share to prune, it was shown first and passed at two thirds of what int8 without pruning gained."""
    pruned, int8, milder = (
        Tried(Candidate(0.24), 0.002, 6.0),
        Tried(Candidate(), 0.0019, 5.0),
        Tried(Candidate(0.24), 0.001, 4.0),
    )
    assert step_down([int8, WEIGHTS, EXACT], pruned, milder, 1) == [int8, milder, WEIGHTS, EXACT]
    milder.score = 5.5
    assert step_down([int8, WEIGHTS, EXACT], pruned, milder, 1) == [milder, int8, WEIGHTS, EXACT]
    as_daring = Tried(Candidate(0.2), 0.0019, 5.9)
    assert step_down([as_daring, EXACT], pruned, milder, 1) == [milder, as_daring, EXACT]


def test_shares_to_prune_take_no_read_that_is_the_last_for_what_prunes_nothing() -> None:
    """Three shares of a detector failed one after another, and int8 without pruning was never shown."""
    pruned, int8, milder = Tried(Candidate(0.21), 0.0, 4.5), Tried(Candidate(), 0.0, 3.9), Tried(Candidate(0.11), 0.0, 4.4)
    assert step_down([int8, WEIGHTS, EXACT], pruned, milder, 1) == [milder, int8, WEIGHTS, EXACT]
    assert step_down([int8, WEIGHTS, EXACT], pruned, milder, 2) == [int8, WEIGHTS, EXACT]


def test_int8_weights_that_gain_more_than_something_milder_go_before_it() -> None:
    int8, weights = Tried(Candidate(), 0.0014, 6.0), Tried(Candidate(scheme="weights"), 0.0013, 5.8)
    milder = Tried(Candidate(milder=1), 0.0003, 3.8)
    assert step_down([weights, EXACT], int8, milder, 1) == [weights, milder, EXACT]
    milder.score = 5.9
    assert step_down([weights, EXACT], int8, milder, 1) == [milder, weights, EXACT]
    assert step_down([EXACT], int8, milder, 1) == [milder, EXACT]


def test_a_read_is_kept_for_each_of_the_surest() -> None:
    assert [count_open_reads([Tried(Candidate(), 0.002, 9.0), WEIGHTS, EXACT], reads) for reads in (1, 2, 3)] == [2, 1, 0]
    assert count_open_reads([EXACT], 3) == 1


def test_what_confirm_refused_tells_what_others_will_drop_there() -> None:
    refused = Tried(Candidate(0.4), 0.003, 7.0, confirm_drop=0.015)
    luckier = Tried(Candidate(0.2), 0.002, 6.0, confirm_drop=0.012)
    assert predict_confirm_drop(Tried(Candidate(), 0.006, 8.0), [refused, luckier]) == pytest.approx(0.03)
    assert predict_confirm_drop(Tried(Candidate(), 0.006, 8.0), []) == 0.0, "nothing is known"
    nothing_seen = Tried(Candidate(0.4), 0.0, 7.0, confirm_drop=0.015)
    assert predict_confirm_drop(Tried(Candidate(), 0.0, 8.0), [nothing_seen]) == 0.0
    assert predict_confirm_drop(Tried(Candidate(), 0.0005, 8.0), [nothing_seen]) == pytest.approx(0.0075)


def test_what_seemed_worse_than_what_was_refused_waits_for_something_milder() -> None:
    """A detector of voices: int8 dropped twice what pruned int8 weights did on tune, and three points on others."""
    pruned = Tried(Candidate(0.48, "weights"), 0.0031, 7.4, confirm_drop=0.016)
    bolder = Tried(Candidate(milder=-1), 0.0062, 7.8)
    assert not has_good_successor([bolder, WEIGHTS], pruned, 0.01)
    less = Tried(Candidate(0.34, "weights"), 0.002, 6.2)
    assert step_down([bolder, WEIGHTS], pruned, less, 1, 0.01) == [less, bolder, WEIGHTS]
    as_good = Tried(Candidate(), 0.0031, 7.8)
    pruned.confirm_drop = 0.012
    assert has_good_successor([as_good, WEIGHTS], pruned, 0.01), "unpruned it may just do"
    pruned.confirm_drop = 0.03
    assert not has_good_successor([as_good, WEIGHTS], pruned, 0.01)


def test_what_passes_on_tune_comes_behind_what_confirm_alone_can_clear_however_alike_they_look() -> None:
    bolder = Tried(Candidate(milder=-1), 0.0111, 7.8, passes=False, allowance=0.0049)
    pruned = Tried(Candidate(0.4, "weights"), 0.0065, 6.4, allowance=0.0034)
    slightly = Tried(Candidate(0.2, "weights"), 0.0, 5.0)
    assert select_finalists([WEIGHTS, bolder, pruned, slightly]) == [bolder, pruned, slightly, WEIGHTS]


def test_what_the_step_chose_is_hopeless_where_it_lost_more_than_what_was_refused() -> None:
    bolder, chosen = Tried(Candidate(milder=-1), 0.0062, 7.8, confirm_drop=0.034), Tried(Candidate(), 0.0125, 7.7)
    assert is_hopeless(chosen, bolder, 0.01)
    assert not is_hopeless(replace(chosen, doubt=0.01), bolder, 0.01), "one answer of thirteen proves nothing"
    assert not is_hopeless(Tried(Candidate(), 0.0062, 7.7), bolder, 0.01), "few samples may not tell them apart"
    bolder.confirm_drop = 0.0105
    assert not is_hopeless(Tried(Candidate(), 0.007, 7.7), bolder, 0.01)


def test_int8_weights_that_are_expected_to_fail_too_do_not_go_before_something_milder() -> None:
    int8 = Tried(Candidate(), 0.0014, 6.0, confirm_drop=0.012)
    weights, milder = Tried(Candidate(scheme="weights"), 0.0013, 5.0), Tried(Candidate(milder=1), 0.0008, 4.0)
    assert step_down([weights, EXACT], int8, milder, 2, 0.01) == [milder, weights, EXACT]
    weights.drop = 0.0011
    assert step_down([weights, EXACT], int8, milder, 2, 0.01) == [weights, milder, EXACT]


def test_eight_bits_come_behind_four_however_alike_they_look_on_few_samples() -> None:
    narrow = Tried(Candidate(scheme="narrow"), 0.0078, 9.0, allowance=0.005)
    int8 = Tried(Candidate(), 0.005, 7.0, allowance=0.005)
    assert select_finalists([EXACT, WEIGHTS, int8, narrow]) == [narrow, int8, WEIGHTS, EXACT]
    narrow.drop = 0.005
    assert select_finalists([EXACT, WEIGHTS, int8, narrow]) == [narrow, int8, WEIGHTS, EXACT]
    assert is_needed(int8, [EXACT, WEIGHTS, int8, narrow])


def test_what_is_allowed_for_few_samples_makes_nothing_less_gentle() -> None:
    int8 = Tried(Candidate(), 0.009, 9.0, allowance=0.005)
    dynamic = Tried(Candidate(scheme="dynamic"), 0.006, 7.0, allowance=0.005)
    assert select_finalists([EXACT, WEIGHTS, int8, dynamic]) == [int8, dynamic, WEIGHTS, EXACT]
