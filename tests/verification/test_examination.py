"""What is asked of a candidate, in turn; the whole of it is in test_verification.py."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import prepare_task
from onnxslim.verification.examination import Known, examine
from onnxslim.verification.receipt import Settings
from tests.support.onnx_text import build


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


def test_samples_are_planned_for_the_drop_that_is_allowed_and_not_for_what_a_guard_may_lose():
    """Answers that the original hardly believes in change all of them: the expected drop is next to nothing."""
    text, weights = (
        "(float[n,4] x) => (float[n,4] y) { m = MatMul (x, w) y = Softmax (m) }",
        0.05 * np.eye(4, dtype=np.float32),
    )
    task = prepare_task(
        build(text, w=weights), "verify", eval_data={"x": np.random.default_rng(0).standard_normal((300, 4)).astype("f4")}
    )
    told, result, known = [], Result("verify"), Known(is_timed=True)
    examine(task, build(text, w=np.roll(weights, 1, axis=1)), Settings(), known, result, announce=told.append)
    assert result.evaluation.metric.name == "agreement"
    assert told
    assert all("on a drop of 1 %" in line for line in told)
