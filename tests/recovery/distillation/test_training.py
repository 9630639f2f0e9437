"""The loop: the best weights are kept, NaN rolls back, labels teach."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.core.errors import GateError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.recovery.distillation import distill, optimizer_step, planning, training
from onnxslim.recovery.distillation.training_plan import TrainingState
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.runtime.session import Session
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import QUICK, error, fresh


def test_the_best_weights_on_the_way_are_kept_where_the_last_are_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    train = distill.train
    wanted, _ = recover(student, teacher, nets.rows(), QUICK)

    def spoilt(*given: Any) -> tuple[TrainingState, str | None]:
        state, stop_reason = train(*given)
        state.best = state.average
        state.average = {name: torch.zeros_like(tensor) for name, tensor in state.average.items()}
        return state, stop_reason

    monkeypatch.setattr(distill, "train", spoilt)
    result, _ = recover(student, teacher, nets.rows(), QUICK)
    assert model_file.to_bytes(result) == model_file.to_bytes(wanted)


def test_labels_teach_where_there_are_any() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 1.0)
    x = np.random.default_rng(5).standard_normal((400, 8)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int64)
    samples = open_samples({"x": x}, teacher, labels=labels)
    result, report = recover(student, teacher, samples, RecoverOptions(steps=80, label_weight=5.0, lr=2e-2))
    assert report.details["after"]["top1"] > report.details["before"]["top1"]
    right = [Session(m).run({"x": fresh()})["y"].argmax(1) == (fresh()[:, 0] > 0) for m in (student, result)]
    assert right[1].mean() > right[0].mean() + 0.1


def test_a_loss_that_is_not_finite_rolls_back_and_lowers_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    # parts of an update run side by side: each call needs a number of its own
    real, numbers = optimizer_step.batch_loss, itertools.count(1)

    def sometimes(*args: object, **kwargs: object) -> torch.Tensor:
        number = next(numbers)
        loss = real(*args, **kwargs)
        return loss * float("nan") if number in (10, 14) else loss  # four parts an update

    monkeypatch.setattr(optimizer_step, "batch_loss", sometimes)
    monkeypatch.setattr(distill, "forecast_training", lambda plan: None)
    result, report = recover(student, teacher, nets.rows(), QUICK)
    assert report.details["rollbacks"] == 2
    assert report.details["curve"][-1]["rate"] == pytest.approx(0.09)
    assert error(result, teacher, fresh()) < error(student, teacher, fresh())
    monkeypatch.setattr(optimizer_step, "batch_loss", lambda *a, **k: real(*a, **k) * float("nan"))
    with pytest.raises(GateError, match="not finite 3 times") as raised:
        recover(student, teacher, nets.rows(), QUICK)
    assert "step 0" in str(raised.value.hint)


def test_a_rate_that_leads_away_is_lowered_and_training_goes_on_from_the_best_weights() -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.02)
    result, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=200, lr=1.0))
    rates = [point["rate"] for point in report.details["curve"][1:]]
    assert report.details["slowdowns"] > 0
    assert rates[-1] == pytest.approx(0.3 ** report.details["slowdowns"])
    assert error(result, teacher, fresh()) < error(student, teacher, fresh())


def test_blocks_learn_alone_until_that_leads_above_where_training_began(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, planned = nets.mlp(), RecoverOptions(steps=100, blockwise=0.5)
    _, far = recover(nets.damaged(nets.mlp(), 1.0), teacher, nets.rows(), planned)
    readings = iter([1.0, 0.8, 0.9, *[1.1] * 100])
    monkeypatch.setattr(distill, "forecast_training", lambda plan: None)
    monkeypatch.setattr(distill, "choose_rate", lambda plan: (plan, None))
    monkeypatch.setattr(training, "evaluate_held_out", lambda plan: training.HeldOutMetrics(next(readings), None))
    _, ended = recover(nets.damaged(nets.mlp(), 1.0), teacher, nets.rows(), planned)
    assert far.details["blockwise"] == 50
    assert ended.details["blockwise"] == 15
    assert far.details["curve"][1]["held"] < far.details["curve"][0]["held"]


def test_weights_that_are_better_halfway_are_seen_before_they_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def evaluate(plan: training.TrainingPlan) -> training.HeldOutMetrics:
        weights = torch.cat([parameter.detach().reshape(-1) for parameter in plan.student.parameters.values()])
        is_halfway = bool(seen) and torch.allclose(weights, torch.lerp(seen[0], seen[-1], 0.5))
        seen.append(weights)
        if torch.equal(weights, seen[0]):
            return training.HeldOutMetrics(1.0, None)
        return training.HeldOutMetrics(0.9 if is_halfway else 1.1 if len(seen) <= 10 else 1.3, None)

    monkeypatch.setattr(distill, "forecast_training", lambda plan: None)
    monkeypatch.setattr(distill, "choose_rate", lambda plan: (plan, None))
    monkeypatch.setattr(training, "evaluate_held_out", evaluate)
    options = RecoverOptions(steps=100, blockwise=0.0)
    _, report = recover(nets.damaged(nets.mlp(), 1.0), nets.mlp(), nets.rows(), options)
    assert (report.details["ran"], report.details["slowdowns"]) == (100, 3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (RecoverOptions(steps=40, last=5), "stopped at step 5 of 40: no more steps were asked for"),
        (RecoverOptions(steps=40, last=40), None),
        (RecoverOptions(steps=40, lr=1e3), "nothing got better"),
    ],
    ids=["last", "all", "patience"],
)
def test_a_training_says_why_it_ended_early(
    options: RecoverOptions, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_PATIENCE", 2)
    _, report = recover(nets.damaged(nets.mlp(), 0.5), nets.mlp(), nets.rows(), options)
    ends = [warning for warning in report.warnings if warning.startswith("stopped at")]
    assert len(ends) == (reason is not None)
    assert reason is None or reason in ends[0]


def test_a_training_whose_time_is_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_count_affordable_steps", lambda *_: 1_000_000)
    _, report = recover(nets.damaged(nets.mlp(), 0.5), nets.mlp(), nets.rows(), RecoverOptions(seconds=0.5))
    assert [warning.rpartition(": ")[2] for warning in report.warnings if "stopped at" in warning] == ["the time was up"]


def test_what_a_deadline_ended_is_replayed_without_one() -> None:
    student, teacher, samples = nets.damaged(nets.mlp(), 0.5), nets.mlp(), nets.rows()
    ended, report = recover(student, teacher, samples, RecoverOptions(steps=40), deadline=time.monotonic())
    assert (report.decision.planned_steps, report.decision.completed_steps) == (40, 1)
    replayed, _ = recover(student, teacher, samples, RecoverOptions(steps=40, last=1))
    assert model_file.to_bytes(ended) == model_file.to_bytes(replayed)
