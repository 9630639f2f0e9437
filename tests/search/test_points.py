"""Where the search goes next, against simulated models whose best share is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.quantize.options import QuantizeOptions
from onnxslim.search.outcomes import Outcome, Point, Wanted
from onnxslim.search.points import ahead, next_point
from onnxslim.search.shares import CLOSE, MOST, promised


def search(
    drop: Callable[[Point], float],
    *,
    limit: float | None = 0.01,
    budget: float = 1e6,
    cost: Callable[[Point], float] = lambda point: 10.0,
    score: Callable[[Point], float] = lambda point: (2.0 if point.quantised == "int8" else 1.0) / (1 - 0.9 * point.share),
    learns: bool = False,
    narrow: bool = False,
) -> list[Outcome]:
    """Everything that is tried on a model whose figures are functions of the point."""
    seen: list[Outcome] = []
    while len(seen) < 60:
        left = budget - sum(o.seconds for o in seen)
        point = next_point(seen, Wanted(limit, left, 100.0 if learns else 0.0, narrow=narrow))
        if point is None:
            return seen
        assert point not in {o.point for o in seen}, "the same thing twice"
        seen.append(Outcome(point, drop(point), score(point), cost(point)))
    pytest.fail("the search does not end")


def best(seen: list[Outcome], limit: float = 0.01) -> Point:
    """The point with the best score among those that pass."""
    return max((o for o in seen if o.drop <= limit), key=lambda o: o.score).point


@given(st.floats(0.0, 0.85), st.floats(1.0, 6.0))
def test_it_closes_in_on_the_share_at_which_the_gate_is_just_met(edge: float, power: float) -> None:
    seen = search(lambda point: 0.01 * (point.share / max(edge, 1e-9)) ** power)
    found = best(seen)
    assert found.quantised == "int8"
    assert found.share <= edge
    assert edge - found.share <= max(CLOSE, 0.105 if not found.share else 0.0) + 0.011 or found.share == MOST


def test_the_surest_comes_first() -> None:
    assert [o.point.name for o in search(lambda point: 0.0)][:2] == ["lossless", "int8"]


def test_when_int8_loses_too_much_it_prunes_in_float() -> None:
    seen = search(lambda point: 0.05 if point.quantised == "int8" else 0.02 * point.share)
    assert best(seen).quantised != "int8"
    assert best(seen).share > 0.4


def test_when_int8_loses_too_much_and_it_can_learn_it_learns_first() -> None:
    seen = search(lambda point: 0.05 if point.quantised == "int8" and not point.learning else 0.0, learns=True)
    assert seen[2].point == Point(learning=seen[2].point.learning)
    assert best(seen).quantised == "int8"


def test_learning_back_goes_on_where_pruning_alone_had_to_stop() -> None:
    plain = search(lambda point: 0.03 * point.share, learns=False)
    learned = search(lambda point: (0.01 if point.learning else 0.03) * point.share, learns=True)
    assert best(learned).share > best(plain).share + 0.2
    assert best(learned).learning


def test_pruning_that_does_not_pay_ends_soon() -> None:
    seen = search(lambda point: 0.0, score=lambda point: 2.0 if point.quantised == "int8" else 1.0)
    assert len(seen) <= 4


def test_nothing_begins_that_would_not_fit_the_time() -> None:
    cost = {False: 5.0, True: 100.0}
    seen = search(lambda point: 0.0, budget=230.0, cost=lambda point: cost[point.share > 0])
    assert sum(o.seconds for o in seen) <= 230.0
    assert sum(1 for o in seen if o.point.share) == 2


def test_a_point_that_failed_is_not_tried_again() -> None:
    seen = search(lambda point: math.inf if point.quantised else 0.0)
    assert best(seen).quantised is None
    assert sum(o.point.quantised is not None for o in seen) == 2


def test_when_activations_cannot_be_int8_weights_can() -> None:
    seen = search(lambda point: 0.05 if point.quantised == "int8" else 0.02 * point.share, score=lambda point: 1.0)
    assert seen[2].point == Point(quantised="weights")
    assert all(o.point.quantised == "weights" for o in seen[2:])
    assert [s.options for s in Point(quantised="weights").steps("static")[1:]] == [QuantizeOptions(weights="int8")]


@pytest.mark.parametrize("gain", [0.9, 1.5])
def test_what_is_pruned_is_quantised_as_what_is_not_came_out_best(gain: float) -> None:
    def score(point: Point) -> float:
        return {None: 1.0, "int8": 2.0, "narrow": 2.0 * gain}[point.quantised] / (1 - 0.9 * point.share)

    seen = search(lambda point: 0.02 * point.share, score=score, narrow=True)
    assert [o.point.quantised for o in seen][:3] == [None, "int8", "narrow"]
    assert {o.point.quantised for o in seen if o.point.share} == {"narrow" if gain > 1 else "int8"}
    assert Point(quantised="narrow").steps("static")[1].options == QuantizeOptions(linear="int4", placement="static")


def test_where_int8_weights_do_not_fit_the_time_it_still_prunes() -> None:
    def cost(point: Point) -> float:
        return 50.0 if point.quantised else 1.0

    seen = search(lambda point: 0.05 if point.quantised else 0.02 * point.share, budget=95.0, cost=cost)
    assert [o.point.quantised for o in seen][:2] == [None, "int8"]
    assert best(seen).share > 0.3


@pytest.mark.parametrize("gain", [0.9, 1.5])
def test_cheaper_forms_come_last_and_go_on_while_they_are_better(gain: float) -> None:
    def score(point: Point) -> float:
        return (gain if point.low_rank else 1.0) * (1 + point.share)

    seen = search(lambda point: 0.02 * point.share / (1.5 if point.low_rank else 1.0), score=score)
    first = next(i for i, o in enumerate(seen) if o.point.low_rank)
    assert not any(o.point.low_rank for o in seen[:first])
    assert seen[first].point.share == best(seen[:first]).share
    assert best(seen).low_rank == (len(seen) > first + 1) == (gain > 1)


def test_the_steps_of_a_point_are_learned_where_it_helps() -> None:
    names = [step.name for step in Point(0.3, "int8", 60.0).steps("static")]
    assert names == ["simplify", "prune", "recover", "quantize"]
    names = [step.name for step in Point(0.0, "int8", 60.0).steps("static")]
    assert names == ["simplify", "quantize", "recover"]


def test_trainings_are_whole_halves_or_quarters_so_that_a_later_search_knows_them() -> None:
    seen = search(
        lambda point: 0.05 * point.share / (3 if point.learning else 1),
        budget=1500.0,
        cost=lambda point: 20.0 + point.learning,
        learns=True,
    )
    assert {o.point.learning for o in seen} <= {0.0, 100.0, 50.0}
    assert any(o.point.learning for o in seen)


def test_what_cannot_be_pruned_is_not_tried_with_learning() -> None:
    seen = search(lambda point: math.inf if point.share > 0.5 else 0.0, learns=True)
    assert any(o.point.learning for o in seen)
    for number, outcome in enumerate(seen):
        impossible = [o.point.share for o in seen[:number] if math.isinf(o.drop) and not o.point.learning]
        assert not outcome.point.learning or outcome.point.share < min(impossible)


def test_learning_starts_at_the_share_from_which_it_should_come_back() -> None:
    # a drop that grows with the cube of the share, a quarter of which learning leaves: two shares tell that 0.76 will do
    seen = search(lambda point: 0.09 * point.share**3 * (1 / 4 if point.learning else 1.0), learns=True)
    first = next(o.point for o in seen if o.point.learning)
    plain = [o.point.share for o in seen if not o.point.learning and o.point.share]
    assert first.share == pytest.approx((0.01 * 4 / 0.09) ** (1 / 3), abs=0.011)
    assert plain[:3] == [0.2, 0.4, 0.6]
    assert best(seen) == first


@given(st.floats(0.0, 0.85), st.integers(1, 6), st.integers(0, 5))
def test_what_is_begun_ahead_starts_with_the_next_point_and_holds_what_follows_from_a_pass(
    edge: float, count: int, tried: int
) -> None:
    seen = search(lambda point: 0.01 * point.share / max(edge, 1e-9))[:tried]
    wanted = Wanted(0.01, 1e6)
    found = ahead(seen, wanted, count)
    assert len(set(found)) == len(found) <= count
    first = next_point(seen, wanted)
    assert found[:1] == ([] if first is None else [first])
    if first is not None and count > 1:
        best = 2 * max((o.score for o in seen), default=1.0)
        second = next_point([*seen, Outcome(first, 0.0, best, 0.0)], wanted)
        assert second is None or second in found


def test_a_first_pruning_that_is_predicted_to_take_too_long_is_not_begun() -> None:
    seen = [Outcome(Point(quantised=None), 0.0, 1.0, 5.0), Outcome(Point(), 0.001, 2.0, 10.0)]
    assert next_point(seen, Wanted(0.01, left=50.0, pruning=60.0)) is None
    tried = next_point(seen, Wanted(0.01, left=75.0, pruning=60.0))
    assert tried is not None
    assert tried.share
    seen.append(Outcome(tried, 0.001, 3.0, 30.0))
    assert next_point(seen, Wanted(0.01, left=50.0, pruning=60.0)) is not None, "what it took counts once that is known"


def test_beyond_what_a_training_has_shown_only_half_of_the_promise_counts() -> None:
    wanted = Wanted(0.01, 1e6, 100.0)
    plain = [Outcome(Point(share), drop, 1.0, 10.0) for share, drop in ((0.0, 0.0), (0.2, 0.005), (0.4, 0.025))]
    first = promised(plain, plain, wanted)
    assert first is not None
    assert 0.4 < first < 0.6
    shown = Outcome(Point(first, learning=100.0), 0.005, 1.0, 110.0)
    second = promised(plain, [*plain, shown], wanted)
    assert second is not None
    power = math.log(5) / math.log(2)
    whole = 0.4 * (0.01 / (0.005 / (0.025 * (first / 0.4) ** power)) / 0.025) ** (1 / power)
    assert second == pytest.approx((first + whole) / 2)
    missed = Outcome(Point(first, learning=100.0), 0.02, 1.0, 110.0)
    nearer = promised(plain, [*plain, missed], wanted)
    assert nearer is not None
    assert nearer < first
