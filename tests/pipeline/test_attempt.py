"""One recipe timed and judged: slower results, noise, and what a search times of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.pipeline import attempt
from onnxslim.pipeline.attempt import Attempt, draw_latency_runs
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.task import prepare_task
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.timing import Timing
from onnxslim.search.optimization import optimize
from tests.support.digits_task import CALIB, EVAL, MLP
from tests.support.quantize_graphs import model


def test_a_result_that_is_slower_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(sessions: Mapping[str, object], *_: object, **__: object) -> Timing:
        return Timing({name: np.full(30, 1.0 if name == "0" else 2.0) for name in sessions}, "cpu", 1)

    monkeypatch.setattr(attempt, "interleave", slow)
    result = run_recipe(MLP, Recipe((make_step("simplify"),)), data=CALIB, eval_data=EVAL)
    assert any("slower than the original" in line for line in result.warnings)
    searched = optimize(MLP, data=CALIB, eval_data=EVAL, budget=1.0)
    assert searched.extra["candidates"][0]["missed"][0] == "slower than the original"
    assert searched.is_original


def test_a_noisy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    for spread, noisy in ((0.01, False), (0.8, True)):
        rounds = {name: np.exp(draw.normal(0, spread, 30)) for name in "01"}
        monkeypatch.setattr(attempt, "interleave", lambda *_, rounds=rounds, **__: Timing(rounds, "cpu", 1))
        result = run_recipe(MLP, Recipe((make_step("simplify"),)), data=CALIB, eval_data=EVAL)
        assert any("noisy" in line for line in result.warnings) == noisy


def test_a_search_times_both_ends_and_judges_the_result_alone() -> None:
    recipe = Recipe((make_step("simplify"), make_step("quantize", placement="static")))
    tried = Attempt(prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL), recipe)
    tried.apply()
    tried.measure_ends(0.1)
    assert [stage.median_ms is None for stage in tried.result.stages] == [False, True, False]
    assert tried.result.latency is not None
    assert tried.result.stages[-1].median_ms == tried.result.latency["result"]["median_ms"]
    result = tried.confirm(judge_stages=False)
    assert result.evaluation is not None
    assert [stage.metric for stage in result.stages] == [
        result.evaluation.metric.original, None, result.evaluation.metric.result
    ]  # fmt: skip
    assert "memory" not in result.extra
    tried.judge_stages()
    assert None not in [stage.metric for stage in tried.result.stages]
    assert tried.result.extra["fit_metrics"]
    tried.measure()
    assert None not in [stage.median_ms for stage in tried.result.stages]
    assert result.extra["memory"]["result"] > 0


def test_what_is_timed_is_as_many_samples_at_a_time_as_asked() -> None:
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, config=SessionConfig(batch_size=8))
    tried = Attempt(task, Recipe((make_step("simplify"),)))
    tried.apply()
    tried.measure_ends(0.1)
    assert tried.result.latency is not None
    assert tried.result.latency["batch"] == 8
    assert not any("at a time" in line for line in tried.result.warnings)


@pytest.mark.parametrize("asked", [1, 8])
def test_a_batch_that_cannot_be_had_is_said(asked: int) -> None:
    samples = open_samples(
        {"x": np.zeros((10, 1), np.float32)}, model("g (float[5, 1] x) => (float[5, 1] y) { y = Relu (x) }")
    )
    runs, warnings = draw_latency_runs(samples, SessionConfig(batch_size=asked))
    assert [len(run["x"]) for run in runs] == [5, 5]
    assert warnings == ([] if asked == 1 else ["timed 5 at a time, not 8: the model's batch is fixed"])


def test_a_run_whose_first_axis_is_no_batch_is_of_one_sample() -> None:
    rows = model("g (float[n, 3] x) => (float[n, 3] y) { y = Relu (x) }")
    task = prepare_task(rows, "optimize", data={"x": np.random.default_rng(0).normal(size=(12, 7, 3)).astype(np.float32)})
    tried = Attempt(task, Recipe((make_step("simplify"),)))
    tried.apply()
    tried.measure_ends(0.1)
    assert tried.result.latency is not None
    assert tried.result.latency["batch"] == 1
    assert "batch 1," in tried.result.measured["latency"]
