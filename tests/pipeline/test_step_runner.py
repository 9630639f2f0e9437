"""Loops, and what recipes that begin alike share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe
from onnxslim.pipeline.recipe import Recipe, Repeat, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.step_registry import StepContext
from onnxslim.pipeline.step_runner import Runner
from onnxslim.pruning.selection.latency import LatencyMeter
from onnxslim.search.optimization import optimize
from onnxslim.simplification.step import SimplifyOptions, simplify
from onnxslim.validation.gates import Gates
from tests.support.equality import run, same
from tests.support.idle_channels import IDLE_KINDS, with_idle_channels
from tests.support.onnx_text import feeds
from tests.support.paths import SAMPLES
from tests.support.pruned import BY_COUNT, time_by_macs

CNN, MLP, CALIB, EVAL = (
    SAMPLES / name for name in ("digits_cnn.onnx", "digits_mlp.onnx", "digits_calib.npz", "digits_eval.npz")
)
PRUNE = make_step("prune", remove=0.2, of="macs", round_to=1, criterion="l1")


@pytest.fixture(scope="module")
def original() -> ir.Model:
    return model_file.load(MLP)


def runner(original: ir.Model, **options: object) -> Runner:
    return Runner(StepContext(original=original), **options)  # type: ignore[arg-type]


def test_a_loop_ends_before_the_turn_that_is_too_much(original: ir.Model) -> None:
    half = compute_cost(original).macs / 2
    done = runner(original, exceeds_gates=lambda model: compute_cost(model).macs < half).run((Repeat((PRUNE,), "drop"),))
    assert len(done) > 1
    assert (
        compute_cost(done[-1].model).macs
        >= half
        > compute_cost(runner(original).run((PRUNE,), done[-1].model)[-1].model).macs
    )


def test_a_loop_ends_when_a_turn_gains_nothing(original: ir.Model) -> None:
    done = runner(original).run((make_step("simplify"), Repeat((make_step("simplify"),), "no_gain")))
    assert len(done) == 1


def test_a_loop_ends_when_the_time_is_up(original: ir.Model) -> None:
    assert runner(original, deadline=0.0).run((Repeat((PRUNE,), "budget"),)) == []


def test_a_loop_ends_after_so_many_turns_or_when_nothing_can_go(original: ir.Model) -> None:
    assert len(runner(original).run((Repeat((PRUNE,), "budget", times=2),))) == 2
    most = make_step("prune", remove=0.9, of="params", round_to=1, criterion="l1")
    assert 0 < len(runner(original).run((Repeat((most,), "budget", times=8),))) < 8


def test_recipes_that_begin_alike_share_the_beginning_and_not_the_end(original: ir.Model) -> None:
    one = runner(original)
    first = one.run((make_step("simplify"), PRUNE, make_step("simplify")))
    second = one.run((make_step("simplify"), PRUNE, make_step("prune", remove=0.1, of="params", round_to=1, criterion="l1")))
    assert second[0] is first[0]
    assert second[1] is first[1]
    assert len(one.step_cache) == 2


def test_a_loop_is_unrolled_in_the_resolved_recipe_whose_replay_gives_the_same_bytes(tmp_path: Path) -> None:
    asked = Recipe((make_step("simplify"), Repeat((PRUNE,), "drop", times=2)), Gates(max_drop=0.5))
    first = run_recipe(MLP, asked, data=CALIB, eval_data=EVAL, time_it=False)
    resolved = recipe.parse(str(first.recipe))
    assert [one.name for one in resolved.steps if isinstance(one, recipe.Step)] == ["simplify", "prune", "prune"]
    assert [stage.name for stage in first.stages] == ["original", "simplify", "prune", "prune 2"]
    second = run_recipe(MLP, resolved, data=CALIB, eval_data=EVAL, time_it=False)
    assert first.model is not None
    assert second.model is not None
    assert model_file.to_bytes(first.model) == model_file.to_bytes(second.model)


def test_what_a_clock_chose_to_prune_is_replayed_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Recipe((make_step("prune", remove=0.2, of="latency", round_to=8),))
    first = run_recipe(CNN, asked, data=CALIB, eval_data=EVAL, time_it=False)
    monkeypatch.setattr(LatencyMeter, "__init__", lambda *_: pytest.fail("a clock was started"))
    second = run_recipe(CNN, recipe.parse(str(first.recipe)), data=CALIB, eval_data=EVAL, time_it=False)
    assert first.model is not None
    assert second.model is not None
    assert first.steps[0].changed["macs"] > 0
    assert model_file.to_bytes(first.model) == model_file.to_bytes(second.model)


def test_data_named_in_a_recipe_are_used_where_the_caller_gives_none() -> None:
    named = Recipe((make_step("simplify"),), data=str(CALIB), eval_data=str(EVAL))
    result = optimize(MLP, recipe=named)
    assert result.data["fit"]["n"] == len(open_samples(CALIB, model_file.load(MLP)))
    assert result.data["confirm"]["n"] == 500


#: Ways to come from a model to a pruned one; the channels that simplification took count in all of them.
WAYS = {
    "simplify, prune": lambda prune: (make_step("simplify"), prune),
    "simplified twice": lambda prune: (make_step("simplify"), make_step("simplify"), prune),
    "inside a loop": lambda prune: (Repeat((make_step("simplify"), prune), "budget", times=1),),
    "before a loop": lambda prune: (make_step("simplify"), Repeat((prune,), "budget", times=1)),
    "prune alone": lambda prune: (prune,),
}


@pytest.mark.parametrize(
    ("way", "budget"),
    [
        *((way, {"of": of}) for way in WAYS for of in ("params", "macs")),
        ("simplify, prune", {"rounds": 2}),
        ("simplify, prune", {"low_rank": True}),
        ("simplify, prune", {"uniform": True}),
    ],
)
@pytest.mark.parametrize("kind", IDLE_KINDS)
def test_nothing_live_goes_where_channels_that_say_nothing_are_enough(kind: str, budget: dict[str, str], way: str) -> None:
    model = with_idle_channels(kind)
    samples = open_samples({"x": feeds(model, 48)["x"]}, model)
    steps = WAYS[way](make_step("prune", remove=0.15, **BY_COUNT | budget))
    result = Runner(StepContext(original=model, samples=samples)).run(steps)[-1].model
    fed = feeds(model, 4, seed=5)
    wanted, got = run(model, fed)["y"], run(result, fed)["y"]
    assert np.square(wanted - got).sum() < 1e-6 * np.square(wanted).sum()
    of = budget.get("of", "params")
    assert getattr(compute_cost(result), of) <= 0.85 * getattr(compute_cost(model), of)


@pytest.mark.parametrize("of", ["params", "macs"])
@pytest.mark.parametrize("kind", IDLE_KINDS)
def test_a_share_is_of_the_simplified_model_with_the_channels_that_simplification_took(kind: str, of: str) -> None:
    model = with_idle_channels(kind)
    whole = getattr(compute_cost(simplify(model, SimplifyOptions(skip=("idle-channels",)))[0]), of)
    done = runner(model).run((make_step("simplify"), make_step("prune", remove=0.7, of=of, round_to=1)))
    assert 0.22 * whole < getattr(compute_cost(done[-1].model), of) <= 0.3 * whole
    # what the next share is of has none of them left
    left = getattr(compute_cost(done[-1].model), of)
    again = runner(model).run((make_step("prune", remove=0.2, of=of, round_to=1),), done[-1].model)
    assert getattr(compute_cost(again[-1].model), of) < left


def test_a_size_that_exact_steps_reached_is_met_without_pruning() -> None:
    model = with_idle_channels("zero")
    size = len(model_file.to_bytes(model))
    done = runner(model).run((make_step("simplify"), make_step("prune", max_size=int(0.8 * size), round_to=1)))
    assert same(*(run(one, feeds(model, 2))["y"] for one in (model, done[-1].model)))
    assert any("nothing live had to go" in warning for warning in done[-1].report.warnings)


def test_time_that_idle_channels_took_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    time_by_macs(monkeypatch)
    model = with_idle_channels("zero")
    samples = open_samples({"x": feeds(model, 48)["x"]}, model)
    steps = (make_step("simplify"), make_step("prune", remove=0.2, of="latency"))
    done = Runner(StepContext(original=model, samples=samples)).run(steps)
    assert not done[-1].report.changed


def test_a_loop_goes_on_where_idle_channels_were_its_first_gain() -> None:
    model = with_idle_channels("zero")
    steps = (make_step("simplify"), Repeat((make_step("prune", remove=0.2, of="macs", round_to=1),), "no_gain", times=3))
    done = runner(model).run(steps)
    assert [bool(one.report.changed.get("units")) for one in done[1:]] == [False, True, True]
    unrolled = runner(model).run([one.step for one in done])
    assert model_file.to_bytes(unrolled[-1].model) == model_file.to_bytes(done[-1].model)
