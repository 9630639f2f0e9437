"""What comes after a finalist that the confirm data refused: less of what cost it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import pytest

from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe import Recipe, Step
from onnxslim.pipeline.result import Result
from onnxslim.quantization.decision import FrontPoint
from onnxslim.search.candidate import Candidate
from onnxslim.search.stepping_down import SteppingDown, choose_bolder_point, choose_loss_share, choose_milder_point
from onnxslim.search.trial import Trial
from onnxslim.validation.gates import Gates

LIMIT = 0.01


class FakeAttempt:
    """An attempt of a recipe that names what stays in float."""

    models: tuple[object, ...] = (object(),)

    def __init__(self, recipe: Recipe) -> None:
        resolved = recipes.parse(recipe.to_yaml())
        *before, last = resolved.steps
        is_placed = isinstance(last, Step) and last.name == "quantize" and last.options.weights != "mixed"
        if isinstance(last, Step) and is_placed and last.options.float_units is None:
            last = Step(last.name, dataclasses.replace(last.options, float_units=("a",)))
        self.recipe = dataclasses.replace(resolved, steps=(*before, last))
        if isinstance(last, Step) and last.name == "quantize":
            last = Step(last.name, dataclasses.replace(last.options, loss_share=None))
        self.result = Result("optimize", recipe=dataclasses.replace(resolved, steps=(*before, last)).to_yaml())


def make_recipe(candidate: Candidate) -> Recipe:
    return Recipe(candidate.steps("static"), Gates(max_drop=LIMIT))


def make_trial(candidate: Candidate, confirm_drop: float | None = None, *, seen_drop: float = 0.002, **more: Any) -> Trial:
    attempt = cast(Any, FakeAttempt(more.pop("recipe", None) or make_recipe(candidate)))
    return Trial(candidate, attempt, seen_drop, seen_drop, 4.0, 2.0, 4.0, confirm_drop=confirm_drop, **more)


def make_front(*losses: float) -> tuple[FrontPoint, ...]:
    return tuple(FrontPoint((f"layer{i}",), loss, 1.0) for i, loss in enumerate(losses))


def step_down(trial: Trial, *others: Trial, fits: bool = True, found: tuple[FrontPoint, ...] = ()) -> Trial | None:
    def run(candidate: Candidate, recipe: Recipe) -> Trial:
        return make_trial(candidate, recipe=recipe, front=found, front_index=2 if found else None)

    return SteppingDown(run, make_recipe).make_milder(trial, [trial, *others], LIMIT, lambda seconds: fits)


def last_options(trial: Trial) -> Any:
    (*_, last) = trial.attempt.recipe.steps
    assert isinstance(last, Step)
    return last.options


@pytest.mark.parametrize("scheme", ["weights", "int8", "static", "dynamic"])
def test_where_no_front_is_known_it_is_measured_and_then_walked(scheme: str) -> None:
    first = step_down(make_trial(Candidate(scheme=scheme), 0.016), found=make_front(1.0, 0.6, 0.2, 0.1, 0.01))
    assert first is not None
    asked = last_options(first)
    assert (asked.float_units, asked.loss_share) == (("a",), pytest.approx(0.25))
    assert asked.float_weights == "auto"
    assert first.candidate == Candidate(scheme=scheme, milder=2)
    second = step_down(dataclasses.replace(first, confirm_drop=0.012))
    assert second is not None
    assert (last_options(second).float_units, last_options(second).loss_share) == (("layer4",), None)
    assert second.candidate.milder == 4
    assert step_down(dataclasses.replace(second, confirm_drop=0.011)) is None, "none is left"


def test_what_goes_back_to_float_is_not_stored_in_int8_because_what_was_in_float_before_is() -> None:
    (before, last) = make_recipe(Candidate()).steps
    assert isinstance(last, Step)
    stored = Step(last.name, dataclasses.replace(last.options, float_units=("a",), float_weights="int8"))
    recipe = dataclasses.replace(make_recipe(Candidate()), steps=(before, stored))
    milder = step_down(make_trial(Candidate(), 0.016, recipe=recipe, front=make_front(1.0, 0.1), front_index=0))
    assert milder is not None
    assert (last_options(milder).float_units, last_options(milder).float_weights) == (("layer1",), "auto")


def test_weights_of_mixed_bits_step_down_along_their_own_front() -> None:
    choices = [{"uint2:64": ()}, {"int8:64": ("w",), "uint4:64": ()}, {"int8:64": ()}]
    front = tuple(
        FrontPoint((), loss, 0.0, weight_formats=choice) for loss, choice in zip((1.0, 0.3, 0.1), choices, strict=True)
    )
    first = make_trial(Candidate(scheme="mixed"), 0.016, front=front, front_index=0)
    milder = step_down(first)
    assert milder is not None
    assert last_options(milder).weight_formats == choices[2], "a quarter of the loss may be left"
    assert milder.candidate == Candidate(scheme="mixed", milder=2)
    assert step_down(dataclasses.replace(milder, confirm_drop=0.012)) is None
    assert step_down(make_trial(Candidate(scheme="mixed"), 0.016, front=())) is None, "a size was asked for"


def test_nothing_is_made_of_what_passed_of_what_learned_and_where_there_is_no_time() -> None:
    assert step_down(make_trial(Candidate(), 0.009)) is None
    assert step_down(make_trial(Candidate(), None)) is None
    assert step_down(make_trial(Candidate(recovery_seconds=60.0), 0.02)) is None
    assert step_down(make_trial(Candidate(0.4), 0.02), fits=False) is None
    assert step_down(make_trial(Candidate(), 0.02), fits=False) is None
    assert step_down(make_trial(Candidate(scheme=None), 0.02)) is None, "the exact steps have no placement"


def test_what_is_known_needs_no_time() -> None:
    def run(candidate: Candidate, recipe: Recipe) -> Trial:
        return make_trial(candidate, recipe=recipe)

    for candidate, front in ((Candidate(0.4), ()), (Candidate(), make_front(1.0, 0.1))):
        trial = make_trial(candidate, 0.02, front=front, front_index=0 if front else None)
        for known in (True, False):
            stepping = SteppingDown(run, make_recipe, lambda recipe, known=known: known)
            milder = stepping.make_milder(trial, [trial], LIMIT, lambda seconds: False)
            assert (milder is not None) == known


def test_a_drop_that_milder_int8_hardly_makes_smaller_is_followed_by_a_leap() -> None:
    """Nothing else changed, so it is int8 that costs, and what its layers lose alone told little of it."""
    front = make_front(1.0, 0.5, 0.2, 0.1, 0.05)
    before = make_trial(Candidate(), 0.02, front=front, front_index=0)
    milder = make_trial(Candidate(milder=1), 0.0199, front=front, front_index=1)
    much_milder = step_down(milder, before)
    assert much_milder is not None
    assert last_options(much_milder).float_units == ("layer4",)
    milder.confirm_drop = 0.015
    next_one = step_down(milder, before)
    assert next_one is not None
    assert last_options(next_one).float_units == ("layer3",), "0.2 is more than 0.28 of 0.5"


def test_where_pruning_is_to_blame_less_is_pruned() -> None:
    unpruned = make_trial(Candidate(), seen_drop=0.0)
    less = step_down(make_trial(Candidate(0.6), 0.016), unpruned)
    assert less is not None
    assert less.candidate == Candidate(0.42), "the drop grows with the square: 0.6 * (0.8 / 1.6) ** 0.5"
    assert less.attempt.recipe.steps[1].options.remove == 0.42  # type: ignore[union-attr]
    slightly = step_down(make_trial(Candidate(0.6, low_rank=True), 0.0101), unpruned)
    assert slightly is not None
    assert slightly.candidate == Candidate(0.53, low_rank=True)
    badly = step_down(make_trial(Candidate(0.6), math.inf), unpruned)
    assert badly is not None
    assert badly.candidate == Candidate(0.3)
    assert step_down(make_trial(Candidate(0.02), 0.03), unpruned) is None


def test_where_int8_loses_as_much_by_itself_its_placement_is_milder() -> None:
    front = make_front(1.0, 0.1)
    pruned = make_trial(Candidate(0.6), 0.016, front=front, front_index=0)
    milder = step_down(pruned, make_trial(Candidate(), seen_drop=0.0015))
    assert milder is not None
    assert milder.candidate == Candidate(0.6, milder=1)


def test_where_a_milder_placement_does_not_help_what_is_pruned_less_is_pruned() -> None:
    front, unpruned = make_front(1.0, 0.1, 0.01), make_trial(Candidate(), seen_drop=0.0015)
    pruned = make_trial(Candidate(0.6), 0.016, front=front, front_index=0)
    milder = make_trial(Candidate(0.6, milder=1), 0.0155, front=front, front_index=1)
    less = step_down(milder, pruned, unpruned)
    assert less is not None
    assert less.candidate == Candidate(0.43)


def test_a_share_that_was_tried_is_not_tried_again() -> None:
    known = make_trial(Candidate(0.4))
    assert step_down(make_trial(Candidate(0.6), 0.016), known) is known
    known.refusal = "on the confirm data"
    assert step_down(make_trial(Candidate(0.6), 0.016), known) is not known


def test_what_few_samples_leave_open_is_worth_a_look_and_what_was_seen_to_drop_is_not() -> None:
    least = (None, 1.1, 0.9, None, 0.2)
    front = tuple(FrontPoint((f"layer{i}",), 1.0 / (i + 1), 1.0, 2.0, excess) for i, excess in enumerate(least))
    assert choose_bolder_point(front, 4) == 2
    assert choose_bolder_point(front, 2) is None, "what was tried before it dropped too much"
    assert choose_bolder_point((), 0) is None


def test_behind_what_was_bolder_comes_what_the_step_chose_unless_something_between_should_do() -> None:
    front = make_front(1.0, 0.4, 0.1)
    chosen = make_trial(Candidate(scheme="weights"), front=front, front_index=2)
    bolder = make_trial(Candidate(scheme="weights", milder=-2), 0.016, front=front, front_index=0)
    assert step_down(bolder, chosen) is chosen, "a quarter of the loss is asked for"
    between = step_down(dataclasses.replace(bolder, confirm_drop=0.0105), chosen)
    assert between is not None
    assert last_options(between).float_units == ("layer1",)
    assert between.candidate == Candidate(scheme="weights", milder=-1)
    refused = dataclasses.replace(chosen, refusal="it dropped")
    assert step_down(dataclasses.replace(bolder), refused) is not refused


def test_a_share_whose_models_were_let_go_is_not_fallen_back_to() -> None:
    pruned = make_trial(Candidate(0.4), 0.03, seen_drop=0.008)
    known = make_trial(Candidate(0.2), seen_drop=0.006)
    known.least_drop = 0.0
    assert known.may_pass
    assert step_down(pruned, known) is known
    known.attempt.models = ()  # type: ignore[assignment]
    again = step_down(pruned, known)
    assert again is not None
    assert again is not known
    assert again.candidate == dataclasses.replace(pruned.candidate, pruning_ratio=0.21)


def test_a_placement_whose_models_were_let_go_is_made_again() -> None:
    front = make_front(1.0, 0.4, 0.1)
    chosen = make_trial(Candidate(scheme="weights"), front=front, front_index=2)
    chosen.least_drop = 0.0
    chosen.attempt.models = ()  # type: ignore[assignment]
    bolder = make_trial(Candidate(scheme="weights", milder=-2), 0.016, front=front, front_index=0)
    again = step_down(bolder, chosen)
    assert again is not None
    assert again is not chosen
    assert last_options(again).float_units == front[2].float_units


@pytest.mark.parametrize("drop", [math.nan, 0.0101])
def test_a_small_share_is_not_tried_twice_and_what_was_not_measured_ends_nothing(drop: float) -> None:
    assert step_down(make_trial(Candidate(0.03), drop, refusal="on the confirm data")) is None


def test_the_next_milder_placement_is_the_first_that_should_lose_little_enough() -> None:
    front = make_front(1.0, 0.8, 0.4, 0.1)
    assert choose_loss_share(0.016, 0.01) == pytest.approx(0.25), "half of the drop, by a quarter of the squared error"
    assert choose_milder_point(front, 0, choose_loss_share(0.012, 0.01)) == 2
    assert choose_milder_point(front, 0, choose_loss_share(0.05, 0.01)) == 3
    assert choose_milder_point(front, 0, choose_loss_share(5.0, 0.01)) == 3, "none should: the mildest"
    assert choose_milder_point(front, 0, choose_loss_share(math.inf, 0.01)) == 3
    assert choose_milder_point(front, 3, choose_loss_share(0.02, 0.01)) is None, "none is left"
