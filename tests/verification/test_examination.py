"""What is asked of a candidate, in turn; the whole of it is in test_verification.py."""

from __future__ import annotations

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import prepare_task
from onnxslim.verification.examination import Known, examine
from onnxslim.verification.receipt import Settings


@pytest.mark.parametrize(
    ("asked", "known", "verdicts"),
    [
        (Settings(), Known(), {"drop": "cannot tell"}),
        (Settings(), Known(is_same=True), {"drop": "pass"}),
        (Settings(min_speedup=2.0), Known(is_same=True, is_timed=True), {"drop": "pass", "speed": "cannot tell"}),
        (Settings(min_speedup=2.0), Known(latency={"ratio": 3.0, "interval": [2.5, 3.5]}),
         {"drop": "cannot tell", "speed": "pass"}),
    ],
)  # fmt: skip
def test_without_samples_only_what_needs_none_is_told(cnn, asked, known, verdicts):
    task, model = prepare_task(cnn, "verify"), model_file.load(cnn)
    found = examine(task, model, asked, known, Result("verify"), announce=lambda line: None)
    assert {check.name: check.verdict for check in found.checks[4:]} == verdicts
    assert found.plan is None


def test_known_samples_are_drawn_and_known_times_are_kept(cnn, evals):
    task, model, result = prepare_task(cnn, "verify", eval_data=evals), model_file.load(cnn), Result("verify")
    known = Known(samples=60, is_timed=True)
    found = examine(task, model, Settings(), known, result, announce=lambda line: None)
    assert (found.plan.used, result.latency) == (60, None)
    assert result.evaluation.metric.n == 60
