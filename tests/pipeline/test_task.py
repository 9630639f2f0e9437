"""What a task refuses, or tells, before any work."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.task import bound_drop, check_metric, find_least_drop, prepare_task
from onnxslim.runtime.devices.device import Device, use_device
from onnxslim.validation.metrics.accumulator import MetricResult
from tests.support.node_graphs import chain
from tests.support.paths import SAMPLES


def test_what_the_confirm_data_cannot_show_is_told_before_the_search(caplog: pytest.LogCaptureFixture) -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    task = prepare_task(model, "optimize", eval_data=str(SAMPLES / "digits_eval.npz"), judge=EvaluationOptions("top1"))
    check_metric(task, 0.01)
    assert caplog.messages == []
    check_metric(task, 0.001)
    assert caplog.messages == [
        "the confirm data cannot show whether top1 drops by 0.1 %: one answer of 500 is 0.2 %; 1000 samples could"
    ]


def test_what_few_samples_leave_open_counts_for_half_of_the_limit_at_most_and_refuses_nothing() -> None:
    seen = MetricResult("top1", 0.9, 0.89, 0.01, (-0.02, 0.06), 40, share=True)
    assert bound_drop([seen], 0.01) == pytest.approx(0.015)
    assert find_least_drop([seen], 0.01) == 0.0
    proven = MetricResult("top1", 0.9, 0.87, 0.03, (0.02, 0.04), 4000, share=True)
    assert bound_drop([proven], 0.01) == pytest.approx(0.035, abs=5e-4)
    assert find_least_drop([proven], 0.01) == 0.02
    assert find_least_drop([MetricResult("top1", 0.9, None, None, None, 0)], 0.01) == math.inf


def test_a_guard_counts_by_what_was_seen_and_hides_nothing() -> None:
    """One changed answer of 52 is within a limit of two in a hundred, and no excuse for an expected drop in doubt."""
    guard = MetricResult("agreement", 1.0, 51 / 52, 1 / 52, (0.003, 0.1), 52, share=True, point=0.02, guards=True)
    sure = MetricResult("confidence", 0.9, 0.899, 0.001, (0.0, 0.002), 52, share=True)
    assert bound_drop([guard, sure], 0.01, many=True) == pytest.approx(1 / 104)
    doubtful = replace(sure, drop=0.009, interval=(0.0, 0.013))
    assert bound_drop([guard, doubtful], 0.01) > 0.01
    assert find_least_drop([guard, sure], 0.01) == pytest.approx(0.0015)
    assert bound_drop([replace(guard, drop=2 / 52), sure], 0.01) > 0.01


@pytest.mark.parametrize("budget", [None, 100.0])
def test_a_device_learns_until_when_there_is_time(budget: float | None) -> None:
    class TimelessDevice:
        deadline: float | None = -1.0

    device = TimelessDevice()
    with use_device(cast(Device, device)):
        task = prepare_task(chain(), "prune", budget=budget, runs=False)
    assert device.deadline == task.deadline
    assert (task.deadline is None) == (budget is None)
