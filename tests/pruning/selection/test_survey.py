"""What a pruning finds out about a model holds for every budget."""

from __future__ import annotations

import time

import numpy as np
import pytest

from onnxslim.activations import run_context
from onnxslim.core.deadline import Pacer
from onnxslim.core.errors import TimeLimitError
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.task import prepare_task
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.survey import Surveys
from onnxslim.pruning.step import prune
from tests.support import nets


@pytest.mark.parametrize("low_rank", [False, True])
def test_a_known_survey_gives_the_bytes_and_the_report_of_a_new_one(low_rank: bool) -> None:
    model = nets.residual(blocks=3)
    data, surveys, stages = nets.samples(model, 40), Surveys(), list[str]()
    for remove, of in ((0.2, "macs"), (0.4, "macs"), (0.3, "params")):
        options = PruneOptions(remove=remove, of=of, low_rank=low_rank, round_to=1)
        stages.clear()
        shared, told = prune(model, data, options, surveys=surveys, progress=lambda what, done, of: stages.append(what))
        alone, its_own = prune(model, data, options)
        assert model_file.to_bytes(shared) == model_file.to_bytes(alone)
        assert {**told.as_json(), "seconds": 0} == {**its_own.as_json(), "seconds": 0}
        assert ("score" in stages) == (remove == 0.2)


def test_another_model_and_other_options_are_surveyed_anew() -> None:
    model = nets.residual(blocks=3)
    data, surveys = nets.samples(model, 40), Surveys()
    smaller, _ = prune(model, data, PruneOptions(remove=0.2, of="params", round_to=1), surveys=surveys)
    first = next(iter(surveys.known))
    again, _ = prune(smaller, data, PruneOptions(remove=0.2, of="params", round_to=1), surveys=surveys)
    assert model_file.to_bytes(again) == model_file.to_bytes(
        prune(smaller, data, PruneOptions(remove=0.2, of="params", round_to=1))[0]
    )
    excluded, _ = prune(model, data, PruneOptions(remove=0.2, of="params", round_to=1, criterion="l2"), surveys=surveys)
    assert model_file.to_bytes(excluded) == model_file.to_bytes(
        prune(model, data, PruneOptions(remove=0.2, of="params", round_to=1, criterion="l2"))[0]
    )
    assert len(surveys.known) == 2
    assert first not in surveys.known


def test_recipes_of_one_task_share_it() -> None:
    model = nets.residual(blocks=3)
    inputs = np.concatenate([batch[str(model.graph.inputs[0].name)] for batch in nets.samples(model, 40).batches(8)])
    task = prepare_task(model, "optimize", data={str(model.graph.inputs[0].name): inputs}, eval_data=None)
    for remove in (0.2, 0.4):
        steps = (make_step("prune", remove=remove, of="params", round_to=1),)
        task.make_runner(Recipe(steps)).run(steps)
    assert len(task.surveys.known) == 1


class _HurriedPacer(Pacer):
    """All parts fit one by one, never all together; or none fits."""

    fitting = True

    def fits(self) -> bool:
        return self.fitting

    def fits_all(self, count: int) -> bool:
        return False


def test_what_there_was_no_time_to_weigh_stays_and_its_cuts_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.residual(blocks=3)
    data, surveys = nets.samples(model, 40), Surveys()
    with monkeypatch.context() as patch:
        patch.setattr(run_context, "Pacer", _HurriedPacer)
        hurried, report = prune(model, data, PruneOptions(remove=0.2, of="macs", round_to=1), surveys=surveys)
    assert report.decision.by_clock
    assert any("no time left to weigh" in warning for warning in report.warnings)
    assert all(len(family["effects"]) <= 1 for family in report.details["families"][0])
    assert not surveys.known
    replayed, again = prune(model, data, PruneOptions(remove=0.2, of="macs", round_to=1, cuts=report.decision.cuts))
    assert model_file.to_bytes(hurried) == model_file.to_bytes(replayed)
    assert not again.decision.by_clock


def test_with_no_time_at_all_nothing_usable_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.mlp()
    with pytest.raises(TimeLimitError, match="no time left"):
        prune(
            model, nets.samples(model, 20), PruneOptions(remove=0.2, of="params", round_to=1), deadline=time.monotonic() - 1
        )
