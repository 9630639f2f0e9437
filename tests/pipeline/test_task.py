"""What a task refuses, or tells, before any work."""

from __future__ import annotations

from typing import cast

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.task import check_metric, prepare_task
from onnxslim.runtime.devices.device import Device, use_device
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


@pytest.mark.parametrize("budget", [None, 100.0])
def test_a_device_learns_until_when_there_is_time(budget: float | None) -> None:
    class TimelessDevice:
        deadline: float | None = -1.0

    device = TimelessDevice()
    with use_device(cast(Device, device)):
        task = prepare_task(chain(), "prune", budget=budget, runs=False)
    assert device.deadline == task.deadline
    assert (task.deadline is None) == (budget is None)
