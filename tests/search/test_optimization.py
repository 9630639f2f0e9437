"""The main job, end to end, on the sample models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import Attempt, run_recipe
from onnxslim.search.optimization import optimize
from onnxslim.validation.gates import Gates
from tests.support.digits_task import CALIB, EVAL, MLP, MODEL

STATIC = Recipe((make_step("simplify"), make_step("quantize", placement="static")), Gates(max_drop=0.01))


def test_int8_is_smaller_and_as_right_and_says_how_it_was_measured() -> None:
    result = run_recipe(MODEL, STATIC, data=CALIB, eval_data=EVAL)
    assert result.input is not None
    assert result.output is not None
    assert result.evaluation is not None
    assert result.latency is not None
    assert result.input.bytes / result.output.bytes > 2.5
    assert {metric.name for metric in result.evaluation.gating} == {"confidence", "top1"}, "few labels choose"
    assert result.evaluation.metric.n == 500
    assert (result.data["fit"]["n"], result.data["tune"]["n"]) == (160, 40), "layers may go back to float by the tune share"
    assert {"latency", "size", "top1"} <= result.measured.keys()
    assert [stage.name for stage in result.stages] == ["original", "simplify", "quantize"]
    scores = [stage.metric for stage in result.stages]
    assert scores[0] == result.evaluation.metric.original
    assert scores[1] == scores[0], "an exact step changes no answer"
    assert scores[2] == result.evaluation.metric.result


def test_the_same_twice_and_its_recipe_replayed_give_the_same_bytes(tmp_path: Path) -> None:
    first = run_recipe(MODEL, STATIC, data=CALIB, eval_data=EVAL, time_it=False)
    second = run_recipe(MODEL, STATIC, data=CALIB, eval_data=EVAL, time_it=False)
    assert first.model is not None
    assert second.model is not None
    assert model_file.to_bytes(first.model) == model_file.to_bytes(second.model)
    first.save(tmp_path / "slim.onnx")
    replayed = optimize(MODEL, data=CALIB, eval_data=EVAL, recipe=tmp_path / "slim.onnx")
    assert replayed.model is not None
    assert model_file.to_bytes(replayed.model) == model_file.to_bytes(first.model)


def test_what_a_clock_decided_is_replayed_without_one(tmp_path: Path) -> None:
    measured = Recipe((make_step("simplify"), make_step("quantize", placement="measured")))
    first = run_recipe(MODEL, measured, data=CALIB, eval_data=EVAL, time_it=False)
    first.save(tmp_path / "slim.onnx")
    replay = recipe.load(tmp_path / "slim.onnx")
    assert replay.steps[1].options.float_units is not None
    second = run_recipe(MODEL, replay, data=CALIB, eval_data=EVAL, time_it=False)
    assert first.model is not None
    assert second.model is not None
    assert model_file.to_bytes(second.model) == model_file.to_bytes(first.model)


def test_without_eval_data_a_share_is_held_back() -> None:
    result = run_recipe(MODEL, STATIC, data=CALIB, time_it=False)
    assert [result.data[use]["n"] for use in ("fit", "tune", "confirm")] == [120, 30, 50]


def test_the_same_sample_in_both_sets_is_refused(tmp_path: Path) -> None:
    with np.load(CALIB) as file:
        image, labels = file["image"], file["labels"]
    np.savez(tmp_path / "leak.npz", image=image[:20], labels=labels[:20])
    with pytest.raises(InvalidDataError):
        run_recipe(MODEL, STATIC, data=CALIB, eval_data=tmp_path / "leak.npz", time_it=False)


def test_a_wrong_normalisation_is_caught_before_anybody_believes_the_figures(tmp_path: Path) -> None:
    with np.load(EVAL) as file:
        image, labels = file["image"], file["labels"]
    np.savez(tmp_path / "wrong.npz", image=(image * 0 + image.mean()).astype(np.float32) + 1e-3 * image, labels=labels)
    with pytest.raises(InvalidDataError, match=r"chance|guess|majority"):
        run_recipe(MODEL, Recipe((make_step("simplify"),)), data=CALIB, eval_data=tmp_path / "wrong.npz", time_it=False)


def test_an_original_that_guesses_is_refused_before_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(EVAL) as file:
        np.savez(tmp_path / "shuffled.npz", image=file["image"], labels=np.random.default_rng(0).permutation(file["labels"]))
    monkeypatch.setattr(Attempt, "apply", lambda *_: pytest.fail("a candidate was tried"))
    with pytest.raises(InvalidDataError, match=r"chance|guess|majority"):
        optimize(MODEL, data=CALIB, eval_data=tmp_path / "shuffled.npz")


def test_static_placement_reaches_into_a_recipe_that_does_not_say() -> None:
    chosen = recipe.set_placement(recipe.PRESETS["int8"], "static")
    assert chosen.steps[1].options.placement == "static"
    recorded = Recipe((make_step("quantize", float_units=("a",)),))
    assert recipe.set_placement(recorded, "static") == recorded


def test_what_the_search_chose_is_replayed_to_the_same_bytes_and_a_study_saves_doing_it_again(tmp_path: Path) -> None:
    asked = {"data": CALIB, "eval_data": EVAL, "placement": "static", "study": tmp_path / "study"}
    first = optimize(MLP, budget=20.0, **asked)
    first.save(tmp_path / "slim.onnx")
    assert first.extra["chosen"] in {entry["name"] for entry in first.extra["candidates"]}
    assert first.data["confirm"]["read"] >= 1
    replayed = optimize(MLP, data=CALIB, eval_data=EVAL, recipe=tmp_path / "slim.onnx")
    assert first.model is not None
    assert replayed.model is not None
    assert model_file.to_bytes(replayed.model) == model_file.to_bytes(first.model)
    again = optimize(MLP, budget=20.0, **asked)
    known = {entry["recipe"]: entry["seconds"] for entry in first.extra["candidates"]}
    read = [entry for entry in again.extra["candidates"] if entry["recipe"] in known]
    # what was done anew would have taken other seconds
    assert [known[entry["recipe"]] for entry in read] == [entry["seconds"] for entry in read]
    assert len(read) >= 3


def test_a_metric_that_fails_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(outputs: np.ndarray, labels: np.ndarray | None) -> float:
        raise KeyError("class")

    monkeypatch.setattr(Attempt, "apply", lambda self, start=None: pytest.fail("work was done"))
    with pytest.raises(UsageError, match="metric broken raised KeyError"):
        run_recipe(MODEL, STATIC, data=CALIB, eval_data=EVAL, judge=EvaluationOptions(broken))
