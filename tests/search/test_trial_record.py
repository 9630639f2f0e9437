"""A trial that a study knows is what it was."""

from __future__ import annotations

from pathlib import Path

from onnxslim.core.errors import UsageError
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.task import CompressionTask, prepare_task
from onnxslim.quantization.decision import FrontPoint
from onnxslim.search.candidate import Candidate
from onnxslim.search.study import Study
from onnxslim.search.trial import Trial, run_trial
from onnxslim.search.trial_record import add_trial, find_trial
from tests.support.idle_channels import with_idle_channels
from tests.support.onnx_text import feeds
from tests.support.paths import SAMPLES

MODEL, CALIB = str(SAMPLES / "digits_mlp.onnx"), str(SAMPLES / "digits_calib.npz")


def remember(folder: Path, task: CompressionTask, candidate: Candidate, recipe: Recipe) -> tuple[Trial, Trial]:
    """A trial, and what a study knows of it."""
    first = run_trial(task, candidate, recipe, "balanced")
    first.front, first.front_index = (FrontPoint(("a", "b"), 0.5, 1e-3), FrontPoint((), 0.1, 2e-3)), 0
    with Study(folder, {}) as study:
        assert find_trial(study, task, candidate, recipe) is None
        add_trial(study, first)
        again = find_trial(study, task, candidate, recipe)
    assert again is not None
    return first, again


def test_what_a_study_remembers_of_a_trial_is_what_came_of_it(tmp_path: Path) -> None:
    task, recipe = prepare_task(MODEL, "optimize", data=CALIB, tune=0.2), Recipe((make_step("simplify"),))
    first, again = remember(tmp_path, task, Candidate(), recipe)
    assert again.as_json() == first.as_json()
    assert first.evaluation_seconds > 0
    assert again.outcome == first.outcome, "what comes next is planned by what it took"
    assert (again.timing_seconds, again.evaluation_seconds) == (first.timing_seconds, first.evaluation_seconds)
    assert (again.front, again.front_index) == (first.front, first.front_index)
    assert again.cause is None
    for name in ("steps", "stages", "latency", "recipe", "warnings", "output"):
        assert again.attempt.result.as_json()[name] == first.attempt.result.as_json()[name], name
    assert again.attempt.result.stages == first.attempt.result.stages


def test_what_exact_steps_took_of_the_channels_is_known_and_remembered(tmp_path: Path) -> None:
    model = with_idle_channels("zero")
    task, recipe = prepare_task(model, "optimize", data=feeds(model, 16)), Recipe((make_step("simplify"),))
    first, again = remember(tmp_path, task, Candidate(scheme=None), recipe)
    assert 0.4 < first.idle_share < 0.6
    assert again.idle_share == first.idle_share


def test_a_study_keeps_the_exit_code_and_the_hint_of_a_failure(tmp_path: Path) -> None:
    task, recipe = prepare_task(MODEL, "optimize", data=CALIB), Recipe((make_step("quantize", target="toaster"),))
    first, again = remember(tmp_path, task, Candidate(), recipe)
    assert isinstance(first.cause, UsageError)
    assert isinstance(again.cause, UsageError)
    assert again.cause is not first.cause
    assert (again.cause.message, again.cause.hint) == (first.cause.message, first.cause.hint)
    assert again.cause.hint
    assert not again.passes
    assert not again.may_pass


def test_a_trial_whose_model_was_let_go_is_known_and_can_be_made_again(tmp_path: Path) -> None:
    task = prepare_task(MODEL, "optimize", data=CALIB, tune=0.2)
    recipe = Recipe((make_step("simplify"), make_step("quantize", weights="int8", placement="static")))
    candidate = Candidate(scheme="weights")
    with Study(tmp_path, {}, is_temporary=True) as study:
        first = run_trial(task, candidate, recipe, "balanced")
        add_trial(study, first)
        study.release_model(recipe.to_yaml())
        again = find_trial(study, task, candidate, recipe)
    assert again is not None
    assert again.as_json() == first.as_json()
    assert again.may_pass
    assert not again.attempt.models
    again.attempt.remake_model()
    assert first.attempt.result.model is not None
    assert again.attempt.result.model is not None
    assert again.attempt.models == [again.attempt.result.model]
    assert model_file.to_bytes(again.attempt.result.model) == model_file.to_bytes(first.attempt.result.model)


def test_a_temporary_study_keeps_no_model_of_what_cannot_be_chosen(tmp_path: Path) -> None:
    task, recipe = prepare_task(MODEL, "optimize", data=CALIB, tune=0.2), Recipe((make_step("simplify"),))
    trial = run_trial(task, Candidate(scheme=None), recipe, "balanced")
    trial.missed_gates = ("too large",)
    for name, is_temporary in (("own", True), ("asked", False)):
        with Study(tmp_path / name, {}, is_temporary=is_temporary) as study:
            add_trial(study, trial)
            stored = study.find(recipe.to_yaml())
            assert stored is not None
            assert (stored[1] is None) == is_temporary
