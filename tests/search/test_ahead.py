"""Trials begun by workers: the search decides the same, and what a clock decides is not theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnxslim import io
from onnxslim.errors import GateError
from onnxslim.execute import Attempt
from onnxslim.reading import DataOptions
from onnxslim.recipe import Recipe, Repeat, Step, step
from onnxslim.search.ahead import begin, untimed
from onnxslim.sets import TUNE_SHARE
from onnxslim.task import Task, prepare
from onnxslim.validate.gates import Gates
from onnxslim.workers import open_workers

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
FEW = DataOptions(max_samples=50)


def trying(*steps: Step) -> tuple[Task, Recipe]:
    task = prepare(SAMPLES / "digits_cnn.onnx", "optimize", data=SAMPLES / "digits_calib.npz", tune=TUNE_SHARE, read=FEW)
    return task, Recipe((step("simplify"), *steps), Gates(), 0)


def test_what_workers_do_is_what_would_have_been_done_here() -> None:
    pruned, int8 = step("prune", remove=0.3, round_to=16), step("quantize", placement="static")
    here, recipe = trying(pruned, int8)
    ahead, _ = trying()
    other = replace(recipe, steps=(step("simplify"), int8))
    with open_workers(None, 2) as workers:
        begin(ahead, [recipe, other], workers)
    assert len(ahead.memory) == 4, "the beginning that both share, and three more"
    one, another = Attempt(here, recipe), Attempt(ahead, recipe)
    one.apply()
    another.apply()
    assert len(ahead.memory) == 3, "a whole recipe is asked for once"
    assert one.result.model is not None
    assert another.result.model is not None
    assert io.to_bytes(one.result.model) == io.to_bytes(another.result.model)
    assert [a.changed for a in one.result.steps] == [a.changed for a in another.result.steps]


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([step("simplify"), step("prune", remove=0.2), step("quantize")], 2),
        ([step("simplify"), step("quantize", placement="static"), step("recover", seconds=9.0)], 2),
        ([step("prune", remove=0.2, of="latency"), step("quantize", placement="static")], 0),
        ([step("recover", steps=5), step("quantize", placement="measured", float_units=())], 2),
        ([step("simplify"), Repeat((step("prune", remove=0.1),)), step("prune", remove=0.1)], 1),
    ],
)
def test_only_what_no_clock_decides_is_given_away(steps: list[object], count: int) -> None:
    assert len(untimed(steps)) == count  # type: ignore[arg-type]


def test_a_recipe_that_fails_on_a_worker_fails_here_when_it_is_asked_for() -> None:
    task, recipe = trying(step("prune", remove=0.99999))
    with open_workers(None, 2) as workers:
        begin(task, [recipe], workers)
    assert not task.memory
    with pytest.raises(GateError, match="the most that can go"):
        Attempt(task, recipe).apply()
