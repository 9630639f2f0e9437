"""What a task refuses, or tells, before any work."""

from __future__ import annotations

import math

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.task import bound_drop, check_metric, find_least_drop, prepare_task
from onnxslim.validation.metrics.accumulator import MetricResult
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
    assert bound_drop(seen, 0.01) == pytest.approx(0.015)
    assert find_least_drop(seen, 0.01) == 0.0
    proven = MetricResult("top1", 0.9, 0.87, 0.03, (0.02, 0.04), 4000, share=True)
    assert bound_drop(proven, 0.01) == pytest.approx(0.035, abs=5e-4)
    assert find_least_drop(proven, 0.01) == 0.02
    assert find_least_drop(MetricResult("top1", 0.9, None, None, None, 0), 0.01) == math.inf
