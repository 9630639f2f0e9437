"""The trials of a search on a real model: their order, and the deadline that each is given."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxslim.core.errors import LostWorkerError, UnsupportedError
from onnxslim.core.workers import Workers, open_workers
from onnxslim.model_io import model_file
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.recipe import Recipe, Step
from onnxslim.pipeline.result import Result
from onnxslim.pipeline.task import CompressionTask, prepare_task
from onnxslim.quantization.decision import FrontPoint
from onnxslim.search import search_loop, time_budget
from onnxslim.search.candidate import Candidate, CandidateResult, SearchState
from onnxslim.search.search_loop import Search
from onnxslim.search.study import Study
from onnxslim.search.trial import Trial, run_trial
from onnxslim.validation.gates import Gates
from tests.support.digits_task import CALIB, EVAL, MLP


def test_the_cheap_and_sure_come_first_and_each_ends_by_a_deadline_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, given = 20.0, list[tuple[str, float]]()

    def run(task: CompressionTask, candidate: Candidate, *rest: Any, **options: Any) -> Trial:
        assert task.deadline is not None
        given.append((candidate.name, task.deadline - time.monotonic()))
        return run_trial(task, candidate, *rest, **options)

    monkeypatch.setattr(search_loop, "run_trial", run)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    with open_workers(None, None) as workers:
        search = Search(task, recipe, "static", time.monotonic(), budget, None, workers)
        search.run()
    assert [name for name, _ in given][:3] == ["lossless", "int8 weights", "int8"]
    seconds = dict(given)
    assert max(seconds["lossless"], seconds["int8 weights"]) <= budget / 6
    assert all(left <= budget for left in seconds.values())
    assert search.trials[0].attempt.recipe.tune == TUNE_SHARE


def test_a_worker_that_is_lost_each_time_ends_no_search(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    asked = list[object]()

    def lose(*given: object) -> None:
        asked.append(given)
        raise LostWorkerError("a worker was lost 3 times")

    monkeypatch.setattr(search_loop, "run_speculatively", lose)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    workers = Workers(2, "2 processes here", is_out_of_process=True)
    search = Search(task, recipe, "static", time.monotonic(), 1.0, None, workers)
    search.run()
    assert len(asked) == 1
    assert search.trials
    assert "lost 3 times; trials begin in this process from here on" in caplog.text


def test_pruning_that_there_is_no_time_for_takes_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Slow:
        def __init__(self, *_: object) -> None: ...

        def predict_seconds(self, count: int) -> float:
            asked.append(count)
            return float(count)

    monkeypatch.setattr(search_loop, "PruneForecast", Slow)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    assert task.splits.fit is not None
    total = len(task.splits.fit)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    history = [CandidateResult(Candidate(scheme=scheme), 0.0, 1.0, 1.0) for scheme in (None, "weights", "int8")]
    with open_workers(None, None) as workers:
        search = Search(task, recipe, "static", time.monotonic(), 1e6, None, workers)
        tried = search._choose_first_pruning(history, SearchState(0.01, total / 2 + 5.0))
        assert tried is not None
        assert asked == [total, total // 2]
        assert search._make_recipe(tried).steps[1].options.samples == total // 2  # type: ignore[union-attr]
        assert search._choose_first_pruning(history, SearchState(0.01, 2.0)) is None
        assert min(asked) >= 32
        tried = search._choose_first_pruning(history, SearchState(0.01, 1e6))
        assert tried is not None
        assert search._make_recipe(tried).steps[1].options.samples is None  # type: ignore[union-attr]


def test_exact_rewrites_that_are_slower_here_are_left_out_of_every_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, blamed = list[float](), "matmul+add at made up"

    def find_slow(task: CompressionTask, speed: float, seconds: float) -> tuple[str, ...]:
        asked.append(seconds)
        return (blamed,)

    monkeypatch.setattr(search_loop, "find_slow_rewrites", find_slow)
    monkeypatch.setattr(search_loop, "is_slower", lambda latency: True)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    with open_workers(None, None) as workers:
        search = Search(task, recipe, "measured", time.monotonic(), 10.0, None, workers)
        search.run()
    assert asked == [1.0]
    assert len({trial.candidate.name for trial in search.trials}) == len(search.trials) > 1
    for trial in search.trials:
        first = trial.attempt.recipe.steps[0]
        assert isinstance(first, Step)
        assert first.options.leave_out == (blamed,)
        if trial.error is None:
            assert any(blamed in line for line in trial.attempt.result.steps[0].warnings)


def test_what_a_study_left_out_is_left_out_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = [("matmul+add at made up",), ("matmul+add at another",)]
    monkeypatch.setattr(search_loop, "find_slow_rewrites", lambda *_: answers.pop(0))
    monkeypatch.setattr(search_loop, "is_slower", lambda latency: True)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    with open_workers(None, None) as workers, Study(tmp_path, {"model": "mlp"}) as study:
        for _ in range(2):
            search = Search(task, recipe, "measured", time.monotonic(), 1.0, study, workers)
            search.run()
            assert search.left_out == ("matmul+add at made up",)
    assert len(answers) == 1


def test_a_search_without_time_reads_all_that_its_study_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With fewer samples to prune with than there are, too, as the search before had no time for all."""
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    assert task.splits.fit is not None
    half = len(task.splits.fit) // 2
    forecast = SimpleNamespace(predict_seconds=lambda count: 0.0 if count <= half else 1e9)
    monkeypatch.setattr(search_loop, "PruneForecast", lambda *_: forecast)
    monkeypatch.setattr(search_loop, "can_recover", lambda *_: False)
    found: list[list[str]] = []

    def run(task: CompressionTask, candidate: Candidate, recipe: Recipe, *_: Any, **__: Any) -> Trial:
        drop, score = 0.02 * candidate.pruning_ratio, 1 + candidate.pruning_ratio
        return Trial(candidate, Attempt(task, recipe), drop, drop, score, score, score, seconds=1.0, least_drop=drop)

    monkeypatch.setattr(search_loop, "run_trial", run)
    with open_workers(None, None) as workers, Study(tmp_path, {"model": "mlp"}) as study:
        for elapsed in (0.0, 1e6):
            search = Search(task, recipe, "static", time.monotonic() - elapsed, 60.0, study, workers)
            search.run()
            found.append([trial.attempt.recipe.to_yaml() for trial in search.trials])
            monkeypatch.setattr(search_loop, "run_trial", lambda *_, **__: pytest.fail("it was known"))
    assert found[0] == found[1]
    assert sum(f"samples: {half}" in text for text in found[1]) >= 2


@pytest.mark.parametrize(("scheme", "name"), [("weights", "int8 weights"), ("int8", "int8")])
def test_a_placement_that_only_few_samples_speak_against_is_tried_beside_the_one_that_the_step_chose(
    scheme: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bolder placement is a trial of its own, a replay of a point of the front."""
    fastest: list[tuple[str, ...]] = []

    def run(task: CompressionTask, candidate: Candidate, *rest: Any, **options: Any) -> Trial:
        trial = run_trial(task, candidate, *rest, **options)
        if candidate == Candidate(scheme=scheme):
            fastest.append(trial.attempt.result.steps[-1].decision.float_units)  # type: ignore[union-attr]
            points = ((fastest[0], 1.0, 2.3, 0.7), ((*fastest[0], "another"), 0.5, 0.8, 0.0))
            trial.front = tuple(FrontPoint(units, loss, 1.0, *excesses) for units, loss, *excesses in points)
            trial.front_index = 1
        return trial

    monkeypatch.setattr(search_loop, "run_trial", run)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    with open_workers(None, None) as workers:
        recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
        search = Search(task, recipe, "static", time.monotonic(), 20.0, None, workers)
        search.run()
    names = [trial.candidate.name for trial in search.trials]
    assert names.count(f"{name} (bolder by 1)") == 1
    place = names.index(f"{name} (bolder by 1)")
    assert names[place - 1] == name
    bolder = search.trials[place]
    assert (bolder.front_index, bolder.front) == (0, search.trials[place - 1].front)
    (*_, last) = bolder.attempt.recipe.steps
    assert isinstance(last, Step)
    assert last.options.float_units == fastest[0]  # type: ignore[union-attr]


def test_who_goes_on_for_a_process_that_died_late_writes_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")

    def search(started: float) -> Result:
        with Study(tmp_path, {}, is_temporary=True) as study:
            found = Search(task, recipe, "static", started, 5.0, study, Workers())
            found.run()
            return found.confirm()

    first = search(time.monotonic())
    shown = [entry for entry in first.extra["candidates"] if entry["confirm"] is not None]
    assert len(list(tmp_path.rglob("*.onnx"))) == len(shown) < len(first.extra["candidates"])
    monkeypatch.setattr(search_loop, "run_trial", lambda *_, **__: pytest.fail("it is known"))
    monkeypatch.setattr(time_budget, "is_successor", lambda: True)
    second = search(time.monotonic() - 100.0)
    assert second.extra["chosen"] == first.extra["chosen"] != "original"
    names = [[entry["name"] for entry in result.extra["candidates"]] for result in (first, second)]
    assert names[0] == names[1]
    assert first.model is not None
    assert second.model is not None
    assert model_file.to_bytes(first.model) == model_file.to_bytes(second.model)


def test_a_death_while_slow_rewrites_are_looked_for_leaves_none_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> tuple[str, ...]:
        raise UnsupportedError("the runtime died")

    monkeypatch.setattr(search_loop, "find_slow_rewrites", die)
    monkeypatch.setattr(search_loop, "is_slower", lambda latency: True)
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)
    recipe = Recipe(gates=Gates(max_drop=0.01), search="balanced")
    search = Search(task, recipe, "measured", time.monotonic(), 1.0, None, Workers())
    search.run()
    assert search.trials
    assert not search.left_out
