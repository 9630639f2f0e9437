"""Trials begun by workers: the search decides the same, and what a clock decides is not theirs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxslim.core.errors import GateError
from onnxslim.core.workers import open_workers
from onnxslim.model_io import model_file
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.recipe import Recipe, Repeat, Step, make_step
from onnxslim.pipeline.task import CompressionTask, prepare_task
from onnxslim.search.speculation import run_speculatively, select_untimed_steps
from onnxslim.validation.gates import Gates
from tests.support.paths import SAMPLES

FEW = DataOptions(max_samples=50)


def trying(*steps: Step) -> tuple[CompressionTask, Recipe]:
    task = prepare_task(
        SAMPLES / "digits_cnn.onnx", "optimize", data=SAMPLES / "digits_calib.npz", tune=TUNE_SHARE, read=FEW
    )
    return task, Recipe((make_step("simplify"), *steps), Gates(), 0)


def test_what_workers_do_is_what_would_have_been_done_here() -> None:
    pruned, int8 = make_step("prune", remove=0.3, of="macs", round_to=16), make_step("quantize", placement="static")
    here, recipe = trying(pruned, int8)
    ahead, _ = trying()
    other = replace(recipe, steps=(make_step("simplify"), int8))
    with open_workers(None, 2) as workers:
        run_speculatively(ahead, [recipe, other], workers)
    assert len(ahead.step_cache) == 4, "the beginning that both share, and three more"
    one, another = Attempt(here, recipe), Attempt(ahead, recipe)
    one.apply()
    another.apply()
    assert len(ahead.step_cache) == 3, "a whole recipe is asked for once"
    assert one.result.model is not None
    assert another.result.model is not None
    assert model_file.to_bytes(one.result.model) == model_file.to_bytes(another.result.model)
    assert [a.changed for a in one.result.steps] == [a.changed for a in another.result.steps]


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([make_step("simplify"), make_step("prune", remove=0.2, of="macs", round_to=16), make_step("quantize")], 2),
        ([make_step("simplify"), make_step("quantize", placement="static"), make_step("recover", seconds=9.0)], 2),
        ([make_step("prune", remove=0.2, of="latency"), make_step("quantize", placement="static")], 0),
        ([make_step("recover", steps=5), make_step("quantize", placement="measured", float_units=())], 2),
        ([make_step("simplify"), Repeat((make_step("prune", remove=0.1),)), make_step("prune", remove=0.1)], 1),
    ],
)
def test_only_what_no_clock_decides_is_given_away(steps: list[object], count: int) -> None:
    assert len(select_untimed_steps(steps)) == count  # type: ignore[arg-type]


def test_a_recipe_that_fails_on_a_worker_fails_here_when_it_is_asked_for() -> None:
    task, recipe = trying(make_step("prune", remove=0.99999, of="params", round_to=1))
    with open_workers(None, 2) as workers:
        run_speculatively(task, [recipe], workers)
    assert not task.step_cache
    with pytest.raises(GateError, match="the most that can go"):
        Attempt(task, recipe).apply()
