"""The forecast: it changes nothing, tells what a short training brings, and is not far off."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.model_io import model_file
from onnxslim.recovery.distillation import distill
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import QUICK


def test_a_forecast_is_told_before_the_first_update_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student, said = nets.mlp(), nets.damaged(nets.mlp(), 0.5), list[tuple[str, int]]()
    told, report = recover(
        student, teacher, nets.rows(), QUICK, progress=lambda stage, done, total: said.append((stage, done))
    )
    stage, done = said[0]
    assert done == 0
    assert "150 updates, each sample seen 22" in stage
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
    result, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=200, lr=1.0))
    assert model_file.to_bytes(result) == model_file.to_bytes(student)
    assert any("no gain to be expected" in warning for warning in report.warnings)
    assert any("of 200: nothing got better" in warning for warning in report.warnings)
    assert report.details["ran"] == 60 + 70


def test_few_updates_have_no_forecast() -> None:
    _, report = recover(nets.damaged(nets.mlp(), 0.5), nets.mlp(), nets.rows(), RecoverOptions(steps=40))
    assert report.details["forecast"] is None
