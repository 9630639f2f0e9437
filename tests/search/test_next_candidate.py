"""Where the search goes next, against simulated models whose best share is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.quantization.options import QuantizeOptions
from onnxslim.search.candidate import Candidate, CandidateResult, SearchState
from onnxslim.search.next_candidate import choose_next_candidate, predict_candidates
from onnxslim.search.pruning_ratio import BRACKET_TOLERANCE, MAX_RATIO
from tests.support.simulated_search import best, search

#: A search that has tried what prunes nothing, and everything passed.
UNPRUNED = (
    CandidateResult(Candidate(scheme=None), 0.0, 1.0, 1.0),
    CandidateResult(Candidate(scheme="weights"), 0.0, 3.9, 1.0),
    CandidateResult(Candidate(), 0.0, 6.0, 1.0),
)


@given(st.floats(0.0, 0.85), st.floats(1.0, 6.0))
def test_it_closes_in_on_the_share_at_which_the_gate_is_just_met(edge: float, power: float) -> None:
    seen = search(lambda point: 0.01 * (point.pruning_ratio / max(edge, 1e-9)) ** power)
    found = best(seen)
    assert found.scheme == "int8"
    assert found.pruning_ratio <= edge
    assert (
        edge - found.pruning_ratio <= max(BRACKET_TOLERANCE, 0.105 if not found.pruning_ratio else 0.0) + 0.011
        or found.pruning_ratio == MAX_RATIO
    )


def test_the_surest_comes_first() -> None:
    assert [o.candidate.name for o in search(lambda point: 0.0)][:3] == ["lossless", "int8 weights", "int8"]


def test_when_int8_loses_too_much_it_prunes_in_float() -> None:
    seen = search(lambda point: 0.05 if point.scheme == "int8" else 0.02 * point.pruning_ratio)
    assert best(seen).scheme != "int8"
    assert best(seen).pruning_ratio > 0.4


def test_when_int8_loses_too_much_and_it_can_learn_it_learns_first() -> None:
    seen = search(lambda point: 0.05 if point.scheme == "int8" and not point.recovery_seconds else 0.0, learns=True)
    assert seen[3].candidate == Candidate(recovery_seconds=seen[3].candidate.recovery_seconds)
    assert best(seen).scheme == "int8"


def test_a_short_training_waits_until_nothing_else_is_left_to_try() -> None:
    history = [
        *UNPRUNED,
        CandidateResult(Candidate(0.2), 0.001, 7.0, 1.0),
        CandidateResult(Candidate(0.4), 0.02, 9.0, 1.0),
    ]
    tried: list[Candidate] = []
    while (candidate := choose_next_candidate(history, SearchState(0.01, 50.0, recovery_seconds=18.0))) is not None:
        tried.append(candidate)
        passes_by = 0.3 + 0.1 * bool(candidate.recovery_seconds)
        drop = 0.005 if candidate.pruning_ratio < passes_by else 0.02
        history.append(CandidateResult(candidate, drop, 6.0 + 8 * candidate.pruning_ratio, 1.0))
    is_learned = [bool(candidate.recovery_seconds) for candidate in tried]
    assert any(is_learned)
    assert is_learned == sorted(is_learned), "learned ones come last"
    long = choose_next_candidate(history[:5], SearchState(0.01, 1e6, recovery_seconds=180.0))
    assert long is not None
    assert long.recovery_seconds
    assert choose_next_candidate(history, SearchState(0.01, 50.0, recovery_seconds=14.0)) is None


def test_learning_back_goes_on_where_pruning_alone_had_to_stop() -> None:
    plain = search(lambda point: 0.03 * point.pruning_ratio, learns=False)
    learned = search(lambda point: (0.01 if point.recovery_seconds else 0.03) * point.pruning_ratio, learns=True)
    assert best(learned).pruning_ratio > best(plain).pruning_ratio + 0.2
    assert best(learned).recovery_seconds


def test_pruning_that_does_not_pay_ends_soon() -> None:
    seen = search(lambda point: 0.0, score=lambda point: 2.0 if point.scheme == "int8" else 1.0)
    assert len(seen) <= 5


def test_nothing_begins_that_would_not_fit_the_time() -> None:
    cost = {False: 5.0, True: 100.0}
    seen = search(lambda point: 0.0, budget=230.0, cost=lambda point: cost[point.pruning_ratio > 0])
    assert sum(o.seconds for o in seen) <= 230.0
    assert sum(1 for o in seen if o.candidate.pruning_ratio) == 2


def test_what_is_known_takes_no_time_and_neither_does_a_training_that_was_done() -> None:
    state = SearchState(0.01, 0.0, recovery_seconds=60.0)
    trained = Candidate(0.2, recovery_seconds=60.0)
    history = [*UNPRUNED, CandidateResult(Candidate(0.2), 0.02, 9.0, 10.0)]
    assert choose_next_candidate(history, state) is None
    assert choose_next_candidate(
        history, state, lambda one: one.pruning_ratio > 0 and not one.recovery_seconds
    ) == Candidate(0.1)
    with_time = choose_next_candidate(history, SearchState(0.01, math.inf, recovery_seconds=60.0))
    assert with_time is not None
    assert with_time.recovery_seconds == trained.recovery_seconds
    assert choose_next_candidate(history, state, lambda one: one == with_time) == with_time


def test_a_point_that_failed_is_not_tried_again() -> None:
    seen = search(lambda point: math.inf if point.scheme else 0.0)
    assert best(seen).scheme is None
    assert [o.candidate.scheme for o in seen if o.candidate.scheme] == ["weights", "int8"]


def test_when_activations_cannot_be_int8_weights_can() -> None:
    seen = search(lambda point: 0.05 if point.scheme == "int8" else 0.02 * point.pruning_ratio, score=lambda point: 1.0)
    assert seen[1].candidate == Candidate(scheme="weights")
    assert all(o.candidate.scheme == "weights" for o in seen[3:])
    assert [s.options for s in Candidate(scheme="weights").steps("static")[1:]] == [
        QuantizeOptions(weights="int8", placement="static")
    ]


@pytest.mark.parametrize("gain", [0.9, 1.5])
def test_what_is_pruned_is_quantised_as_what_is_not_came_out_best(gain: float) -> None:
    def score(point: Candidate) -> float:
        return {None: 1.0, "weights": 1.2, "int8": 2.0, "narrow": 2.0 * gain}[point.scheme] / (1 - 0.9 * point.pruning_ratio)

    seen = search(lambda point: 0.02 * point.pruning_ratio, score=score, narrow=True)
    assert [o.candidate.scheme for o in seen][:4] == [None, "weights", "int8", "narrow"]
    assert {o.candidate.scheme for o in seen if o.candidate.pruning_ratio} == {"narrow" if gain > 1 else "int8"}
    assert Candidate(scheme="narrow").steps("static")[1].options == QuantizeOptions(linear="int4", placement="static")


def test_bits_for_each_weight_are_chosen_by_an_allowed_drop_and_once() -> None:
    def score(point: Candidate) -> float:
        return {None: 1.0, "weights": 1.2, "int8": 2.0, "mixed": 4.0}[point.scheme] / (1 - 0.9 * point.pruning_ratio)

    seen = search(lambda point: 0.02 * point.pruning_ratio, score=score, mixed=True)
    assert [o.candidate.scheme for o in seen][:4] == [None, "weights", "int8", "mixed"]
    assert {o.candidate.scheme for o in seen if o.candidate.pruning_ratio} == {"int8"}
    assert Candidate(scheme="mixed").steps("static")[1].options == QuantizeOptions(weights="mixed", placement="static")
    unlimited = search(lambda point: 0.02 * point.pruning_ratio, score=score, mixed=True, limit=None)
    assert "mixed" not in {o.candidate.scheme for o in unlimited}


def test_where_so_little_is_left_that_int8_gains_no_time_int8_weights_go_on() -> None:
    history = [
        *UNPRUNED,
        CandidateResult(Candidate(0.2), 0.0, 7.0, 1.0),
        CandidateResult(Candidate(0.4), 0.001, 9.0, 1.0),
    ]
    too_small = CandidateResult(Candidate(0.6), math.inf, 0.0, 1.0, gains_by_scheme=False)
    state = SearchState(0.01, 1e6)
    following = choose_next_candidate([*history, too_small], state)
    assert following == Candidate(0.6, "weights"), "it is where int8 weights alone lose no more"
    refused = CandidateResult(Candidate(0.6), math.inf, 0.0, 1.0)
    assert choose_next_candidate([*history, refused], state) == Candidate(0.5)
    history += [too_small, CandidateResult(following, 0.002, 12.0, 1.0)]
    assert choose_next_candidate(history, state) == Candidate(0.8, "weights")
    history.append(CandidateResult(Candidate(0.8, "weights"), 0.03, 20.0, 1.0))
    closer = choose_next_candidate(history, state)
    assert closer is not None
    assert closer.scheme == "weights"
    assert 0.6 < closer.pruning_ratio < 0.8


def test_what_is_pruned_is_not_quantised_in_a_way_that_gains_nothing() -> None:
    seen = search(lambda point: 0.02 * point.pruning_ratio, score=lambda point: 9.0 if point.scheme == "int8" else 1.0)
    assert {o.candidate.scheme for o in seen if o.candidate.pruning_ratio} == {"int8"}
    history = [
        CandidateResult(Candidate(scheme=None), 0.0, 1.0, 1.0, 1.0, 1.0),
        CandidateResult(Candidate(scheme="weights"), 0.0, 3.9, 1.0, 1.0, 3.9),
        CandidateResult(Candidate(), 0.0, 9.0, 1.0, 1.01, 1.01),
    ]
    following = choose_next_candidate(history, SearchState(0.01, 1e6))
    assert following is not None
    assert (following.scheme, following.pruning_ratio > 0) == ("weights", True)


@pytest.mark.parametrize(
    ("activations", "int8_drop", "int8_speedup", "other"),
    [
        ("static", 0.05, 2.0, "dynamic"),
        ("static", 0.0, 1.0, "dynamic"),
        ("dynamic", 0.05, 2.0, "static"),
        ("static", 0.0, 2.0, None),
    ],
    ids=["it lost too much", "it gained no time", "the reverse", "nothing is left to be wished"],
)
def test_the_other_kind_of_activations_is_tried_where_the_first_leaves_something_to_be_wished(
    activations: str, int8_drop: float, int8_speedup: float, other: str | None
) -> None:
    seen = search(
        lambda point: int8_drop if point.scheme == "int8" else 0.05 * point.pruning_ratio,
        activations=activations,
        speedup=lambda point: int8_speedup if point.scheme == "int8" else 1.5,
    )
    tried = [o.candidate.scheme for o in seen if not o.candidate.pruning_ratio]
    assert tried == [None, "weights", "int8", *([other] if other else [])]


def test_layers_that_went_back_to_float_leave_something_to_be_wished() -> None:
    history = [
        CandidateResult(Candidate(scheme=None), 0.0, 1.0, 1.0),
        CandidateResult(Candidate(scheme="weights"), 0.0, 3.9, 1.0),
        CandidateResult(Candidate(), 0.009, 4.2, 1.0, 1.1, 3.8, "static", gave_way=True),
    ]
    following = choose_next_candidate(history, SearchState(0.01, 1e6, has_dynamic_layers=True))
    assert following == Candidate(scheme="dynamic")
    following = choose_next_candidate(history, SearchState(0.01, 1e6))
    assert following is None or following.scheme != "dynamic", "the model has no layers for that"


@pytest.mark.parametrize("gain", [0.9, 1.5])
def test_cheaper_forms_come_last_and_go_on_while_they_are_better(gain: float) -> None:
    def score(point: Candidate) -> float:
        return (gain if point.low_rank else 1.0) * (1 + point.pruning_ratio)

    seen = search(lambda point: 0.02 * point.pruning_ratio / (1.5 if point.low_rank else 1.0), score=score)
    first = next(i for i, o in enumerate(seen) if o.candidate.low_rank)
    assert not any(o.candidate.low_rank for o in seen[:first])
    assert seen[first].candidate.pruning_ratio == best(seen[:first]).pruning_ratio
    assert best(seen).low_rank == (len(seen) > first + 1) == (gain > 1)


@pytest.mark.parametrize(("smaller", "goes_on"), [(1.00001, False), (1.05, True)])
def test_cheaper_forms_that_no_layer_has_are_asked_for_once(smaller: float, goes_on: bool) -> None:
    """What is as large as without them is the same cut, and a clock that finds it faster tells of itself."""
    exact, pruned = Candidate(scheme=None), Candidate(0.2, "weights")
    outcomes = [
        CandidateResult(exact, 0.0, 1.0, 1.0, 1.0, 1.0),
        CandidateResult(Candidate(scheme="weights"), 0.0, 4.0, 1.0, 1.0, 4.0),
        CandidateResult(Candidate(), math.inf, 0.0, 1.0),
        CandidateResult(pruned, 0.002, 6.0, 1.0, 1.2, 5.0),
        CandidateResult(replace(pruned, pruning_ratio=0.22), 0.02, 6.1, 1.0, 1.2, 5.1),
        CandidateResult(replace(pruned, low_rank=True), 0.002, 6.5, 1.0, 1.3, 5.0 * smaller),
    ]
    candidate = choose_next_candidate(outcomes, SearchState(0.01, 1e6))
    assert (candidate is not None and candidate.low_rank) == goes_on


def test_the_steps_of_a_point_are_learned_where_it_helps() -> None:
    names = [step.name for step in Candidate(0.3, "int8", 60.0).steps("static")]
    assert names == ["simplify", "prune", "recover", "quantize"]
    names = [step.name for step in Candidate(0.0, "int8", 60.0).steps("static")]
    assert names == ["simplify", "quantize", "recover"]


def test_a_point_prunes_a_share_of_what_exact_steps_leave() -> None:
    shares = [Candidate(0.2).steps("static", idle)[1].options.remove for idle in (0.0, 0.5)]
    assert shares == [0.2, 0.6]


def test_trainings_are_whole_halves_or_quarters_so_that_a_later_search_knows_them() -> None:
    seen = search(
        lambda point: 0.05 * point.pruning_ratio / (3 if point.recovery_seconds else 1),
        budget=1500.0,
        cost=lambda point: 20.0 + point.recovery_seconds,
        learns=True,
    )
    assert {o.candidate.recovery_seconds for o in seen} <= {0.0, 100.0, 50.0}
    assert any(o.candidate.recovery_seconds for o in seen)


def test_what_cannot_be_pruned_is_not_tried_with_learning() -> None:
    seen = search(lambda point: math.inf if point.pruning_ratio > 0.5 else 0.0, learns=True)
    assert any(o.candidate.recovery_seconds for o in seen)
    for number, outcome in enumerate(seen):
        impossible = [
            o.candidate.pruning_ratio for o in seen[:number] if math.isinf(o.drop) and not o.candidate.recovery_seconds
        ]
        assert not outcome.candidate.recovery_seconds or outcome.candidate.pruning_ratio < min(impossible)


@given(st.floats(0.0, 0.85), st.integers(1, 6), st.integers(0, 5))
def test_what_is_begun_ahead_starts_with_the_next_point_and_holds_what_follows_from_a_pass(
    edge: float, count: int, tried: int
) -> None:
    seen = search(lambda point: 0.01 * point.pruning_ratio / max(edge, 1e-9))[:tried]
    wanted = SearchState(0.01, 1e6)
    found = predict_candidates(seen, wanted, count)
    assert len(set(found)) == len(found) <= count
    first = choose_next_candidate(seen, wanted)
    assert found[:1] == ([] if first is None else [first])
    if first is not None and count > 1:
        best = 2 * max((o.score for o in seen), default=1.0)
        second = choose_next_candidate([*seen, CandidateResult(first, 0.0, best, 0.0)], wanted)
        assert second is None or second in found


def test_a_first_pruning_that_is_predicted_to_take_too_long_is_not_begun() -> None:
    seen = [
        CandidateResult(Candidate(scheme=None), 0.0, 1.0, 5.0),
        CandidateResult(Candidate(scheme="weights"), 0.0, 1.5, 5.0),
        CandidateResult(Candidate(), 0.001, 2.0, 10.0),
    ]
    assert choose_next_candidate(seen, SearchState(0.01, seconds_left=50.0, pruning_seconds=60.0)) is None
    tried = choose_next_candidate(seen, SearchState(0.01, seconds_left=75.0, pruning_seconds=60.0))
    assert tried is not None
    assert tried.pruning_ratio
    seen.append(CandidateResult(tried, 0.001, 3.0, 30.0))
    assert choose_next_candidate(seen, SearchState(0.01, seconds_left=50.0, pruning_seconds=60.0)) is not None, (
        "what it took counts once that is known"
    )


def test_what_a_first_pruning_found_out_is_not_paid_for_again() -> None:
    seen = [
        CandidateResult(Candidate(scheme=scheme), 0.0, 1.0 + i, 5.0) for i, scheme in enumerate((None, "weights", "int8"))
    ]
    first = CandidateResult(Candidate(0.2), 0.001, 4.0, 40.0, survey_seconds=30.0)
    assert choose_next_candidate([*seen, first], SearchState(0.01, seconds_left=12.0)) == Candidate(0.4)
    assert choose_next_candidate([*seen, first], SearchState(0.01, seconds_left=9.0)) is None


def test_what_has_no_layers_is_not_pruned() -> None:
    history = [CandidateResult(Candidate(scheme=scheme), math.inf, 0.0, 1.0) for scheme in (None, "weights", "int8")]
    assert choose_next_candidate(history, SearchState(0.01, 1e6, can_prune=False)) is None


def test_what_only_quantises_is_begun_where_half_of_its_time_is_left_because_its_steps_end_with_it() -> None:
    history = [
        CandidateResult(Candidate(scheme=None), 0.0, 1.0, 5.0, judging_seconds=4.0),
        CandidateResult(Candidate(scheme="weights"), 0.0, 3.9, 14.0, judging_seconds=4.0),
    ]
    assert choose_next_candidate(history, SearchState(0.01, seconds_left=9.5, can_prune=False)) == Candidate()
    assert choose_next_candidate(history, SearchState(0.01, seconds_left=8.5, can_prune=False)) is None


def test_what_is_fallen_back_to_is_tried_in_the_time_that_is_kept_for_the_confirmation() -> None:
    history = [CandidateResult(Candidate(scheme=None), 0.0, 1.0, 30.0, judging_seconds=8.0)]
    weights = Candidate(scheme="weights")
    assert choose_next_candidate(history, SearchState(0.01, seconds_left=2.0, reserved_seconds=15.0)) == weights
    assert choose_next_candidate(history, SearchState(0.01, seconds_left=-2.0, reserved_seconds=15.0)) is None
    history.append(CandidateResult(weights, 0.0, 3.9, 20.0, judging_seconds=8.0))
    assert choose_next_candidate(history, SearchState(0.01, seconds_left=2.0, reserved_seconds=15.0)) is None


def test_a_first_pruning_needs_half_of_the_time_that_quantising_took_on_top_of_its_own() -> None:
    history = [
        CandidateResult(Candidate(scheme=None), 0.0, 1.0, 5.0, judging_seconds=4.0),
        CandidateResult(Candidate(scheme="weights"), 0.0, 1.5, 5.0, judging_seconds=4.0),
        CandidateResult(Candidate(), 0.001, 2.0, 24.0, judging_seconds=4.0),
    ]
    needed = 4.0 + 20.0 / 2 + 6.0
    assert choose_next_candidate(history, SearchState(0.01, needed - 0.5, pruning_seconds=6.0)) is None
    tried = choose_next_candidate(history, SearchState(0.01, needed + 0.5, pruning_seconds=6.0))
    assert tried is not None
    assert tried.pruning_ratio


def test_a_bolder_placement_that_tune_does_not_clear_does_not_end_pruning() -> None:
    history = [
        CandidateResult(Candidate(scheme=None), 0.0, 1.0, 1.0),
        CandidateResult(Candidate(scheme="weights"), 0.004, 2.5, 1.0, speedup=1.0, shrinkage=2.5),
        CandidateResult(Candidate(scheme="weights", milder=-3), 0.012, 3.8, 1.0, speedup=1.0, shrinkage=3.8),
        CandidateResult(Candidate(), math.inf, 0.0, 1.0),
    ]
    assert choose_next_candidate(history, SearchState(0.01, 1e6)) == Candidate(0.2, "weights")


def test_what_cannot_be_pruned_is_not_tried_again_with_int8_weights_share_by_share() -> None:
    history = [
        *UNPRUNED,
        CandidateResult(Candidate(0.2), math.inf, 0.0, 1.0, gains_by_scheme=False),
        CandidateResult(Candidate(0.2, "weights"), math.inf, 0.0, 1.0, gains_by_scheme=False),
    ]
    following = choose_next_candidate(history, SearchState(0.01, 1e6))
    assert following is None or following.scheme == "int8"
