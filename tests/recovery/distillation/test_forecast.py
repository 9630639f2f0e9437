"""The forecast: it changes nothing, tells what a short training brings, and is not far off."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, Step, make_step, parse
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.recovery.distillation import distill, planning
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import QUICK, fresh


def test_a_forecast_is_told_before_the_first_update_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student, said = nets.mlp(), nets.damaged(nets.mlp(), 0.5), list[tuple[str, int]]()
    told, report = recover(
        student, teacher, nets.rows(), QUICK, progress=lambda stage, done, total: said.append((stage, done))
    )
    stage, done = said[0]
    assert done == 0
    assert "150 updates, each sample seen 25 times" in stage
    forecast = report.details["forecast"]
    assert forecast["trial_updates"] == 7
    assert forecast["expected_loss"] < forecast["trial_loss"] < forecast["loss"]
    assert report.details["curve"][-1]["held"] < forecast["trial_loss"]
    monkeypatch.setattr(distill, "forecast_training", lambda plan: None)
    untold, report = recover(student, teacher, nets.rows(), QUICK)
    assert report.details["forecast"] is None
    assert model_file.to_bytes(told) == model_file.to_bytes(untold)


def test_what_gets_no_better_is_told_so_ends_halfway_and_comes_back_as_it_was() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.02)
    result, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=200, lr=1e4))
    assert model_file.to_bytes(result) == model_file.to_bytes(student)
    assert any("no gain to be expected" in warning for warning in report.warnings)
    assert any("of 200: nothing got better" in warning for warning in report.warnings)
    assert report.details["blockwise"] == 10
    assert report.details["ran"] == 10 + 100


def test_few_updates_have_no_forecast() -> None:
    _, report = recover(nets.damaged(nets.mlp(), 0.5), nets.mlp(), nets.rows(), RecoverOptions(steps=19))
    assert report.details["forecast"] is None


def test_a_rate_that_gains_nothing_is_lowered_and_the_recipe_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.1)
    monkeypatch.setattr(planning, "_LEARNING_RATE", 1.0)
    _, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=100))
    assert report.decision.lr in (pytest.approx(0.3), pytest.approx(0.09))
    assert report.details["forecast"]["trial_loss"] < report.details["forecast"]["loss"]
    _, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=100, lr=1.0))
    assert report.decision.lr == 1.0
    data, kept = {"x": fresh(200)}, []
    recipe = Recipe((make_step("recover", steps=100),))
    for _ in range(2):
        run = run_recipe(teacher, recipe, start=student, data=data, time_it=False)
        assert run.recipe is not None
        assert run.model is not None
        recipe = parse(run.recipe)
        kept.append((recipe, model_file.to_bytes(run.model)))
    assert kept[0] == kept[1]
    (step,) = recipe.steps
    assert isinstance(step, Step)
    assert step.options.lr < 1.0


def test_a_training_that_goes_on_keeps_the_rate_it_began_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    teacher, student, state = nets.mlp(), nets.damaged(nets.mlp(), 0.1), str(tmp_path / "state")
    monkeypatch.setattr(planning, "_LEARNING_RATE", 1.0)
    first, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=100, checkpoint=state))
    again, resumed = recover(student, teacher, nets.rows(), RecoverOptions(steps=100, checkpoint=state))
    assert resumed.decision.lr == report.decision.lr < 1.0
    assert model_file.to_bytes(first) == model_file.to_bytes(again)
