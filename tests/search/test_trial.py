"""A trial that a study knows is what it was."""

from __future__ import annotations

from pathlib import Path

from onnxslim.core.errors import UsageError
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.task import prepare_task
from onnxslim.search.candidate import Candidate
from onnxslim.search.study import Study
from onnxslim.search.trial import run_trial
from tests.support.idle_channels import with_idle_channels
from tests.support.onnx_text import feeds
from tests.support.paths import SAMPLES

MODEL, CALIB = str(SAMPLES / "digits_mlp.onnx"), str(SAMPLES / "digits_calib.npz")


def test_what_a_study_remembers_of_a_trial_is_what_came_of_it(tmp_path: Path) -> None:
    task, recipe = prepare_task(MODEL, "optimize", data=CALIB, tune=0.2), Recipe((make_step("simplify"),))
    with Study(tmp_path, {}) as study:
        first, again = (run_trial(task, Candidate(), recipe, "balanced", study) for _ in range(2))
    assert again.as_json() == first.as_json()
    assert again.cause is None
    for name in ("steps", "stages", "latency", "recipe", "warnings", "output"):
        assert again.attempt.result.as_json()[name] == first.attempt.result.as_json()[name], name
    assert again.attempt.result.stages == first.attempt.result.stages


def test_what_exact_steps_took_of_the_channels_is_known_and_remembered(tmp_path: Path) -> None:
    model = with_idle_channels("zero")
    task, recipe = prepare_task(model, "optimize", data=feeds(model, 16)), Recipe((make_step("simplify"),))
    with Study(tmp_path, {}) as study:
        first, again = (run_trial(task, Candidate(scheme=None), recipe, "balanced", study) for _ in range(2))
    assert 0.4 < first.idle_share < 0.6
    assert again.idle_share == first.idle_share


def test_a_study_keeps_the_exit_code_and_the_hint_of_a_failure(tmp_path: Path) -> None:
    task, recipe = prepare_task(MODEL, "optimize", data=CALIB), Recipe((make_step("quantize", target="toaster"),))
    with Study(tmp_path, {}) as study:
        first, again = (run_trial(task, Candidate(), recipe, "balanced", study) for _ in range(2))
    assert isinstance(first.cause, UsageError)
    assert isinstance(again.cause, UsageError)
    assert again.cause is not first.cause
    assert (again.cause.message, again.cause.hint) == (first.cause.message, first.cause.hint)
    assert again.cause.hint
    assert not again.passes
