"""Finalists shown the confirm data: the best that passes is written, and what fails steps down along its own front."""

from __future__ import annotations

import dataclasses
import math
import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import GateError, InvalidDataError, InvalidModelError, LimitError, UnsupportedError
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.result import ModelFacts, Result
from onnxslim.quantization.decision import FrontPoint
from onnxslim.search import confirmation
from onnxslim.search.candidate import Candidate
from onnxslim.search.confirmation import Confirmation, pareto_front
from onnxslim.search.stepping_down import SteppingDown
from onnxslim.search.trial import Trial
from onnxslim.validation.evaluation_accumulator import Evaluation
from onnxslim.validation.gates import Gates
from onnxslim.validation.metrics.accumulator import MetricResult

GATES = Gates(max_drop=0.01)
TASK = cast(Any, SimpleNamespace(splits=DataSplits(), original_facts=ModelFacts(None, "abc", 400, 1, 1)))


class FakeAttempt:
    """An attempt whose confirm data show a given drop."""

    def __init__(self, recipe: Recipe, drop: float, ratio: float = 2.0) -> None:
        self.recipe, self.drop, self.task, self.models = recipe, drop, TASK, [object()]
        latency = {"ratio": ratio, "interval": [ratio, ratio], "result": {"median_ms": 1 / ratio}}
        facts = ModelFacts(None, "", 100, 1, 1)
        self.result = Result("optimize", input=facts, output=facts, latency=latency, recipe=recipe.to_yaml())
        self.sizes, self.confirms, self.retimed = {"original": 400, "result": 100}, 0, ratio

    def confirm(self, *, judge_stages: bool = True) -> Result:
        self.confirms += 1
        self.result.evaluation = Evaluation([make_metric(self.drop)], "y", {})
        if self.drop > 0.01:
            raise GateError("too much")
        return self.result

    def judge_stages(self) -> None:
        self.judged_stages = True

    def measure(self) -> None:
        assert self.result.latency is not None
        self.result.latency |= {"ratio": self.retimed, "interval": [self.retimed, self.retimed]}


def make_trial(candidate: Candidate, confirm_drop: float, *, tune_drop: float = 0.001, score: float = 4.0) -> Trial:
    recipe = Recipe(candidate.steps("static"), GATES)
    attempt = cast(Any, FakeAttempt(recipe, confirm_drop))
    trial = Trial(candidate, attempt, tune_drop, tune_drop, score, 2.0, 4.0, metric="top1", metric_is_share=True)
    trial.least_drop = tune_drop
    trial.describe_loss(make_metric(tune_drop))
    return trial


def make_metric(drop: float) -> MetricResult:
    return MetricResult("top1", 0.9, 0.9 - drop, drop, (drop, drop), 100, share=True)


def confirm(trials: list[Trial], **more: Any) -> Result:
    def run(candidate: Candidate, recipe: Recipe) -> Trial:
        return make_trial(candidate, 0.0)

    def make_recipe(candidate: Candidate) -> Recipe:
        return Recipe(candidate.steps("static"), GATES)

    stepping = SteppingDown(more.pop("run", run), make_recipe)
    options = {"stepping": stepping, "deadline": time.monotonic() + 1000} | more
    return Confirmation(TASK, Recipe(gates=GATES, search="balanced"), **options).confirm_best(trials)


@pytest.fixture(autouse=True)
def original(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original, without a task to be of."""

    def keep(task: object, recipe: Recipe, reason: str, **_: object) -> Result:
        return Result("optimize", is_original=True, extra={"summary": reason})

    monkeypatch.setattr(confirmation, "keep_original", keep)


EXACT, WEIGHTS, INT8 = Candidate(scheme=None), Candidate(scheme="weights"), Candidate()


def make_exact() -> Trial:
    return make_trial(EXACT, 0.0, tune_drop=0.0, score=1.1)


def test_the_best_that_passes_is_the_result_and_the_others_are_told_in_a_line_each() -> None:
    result = confirm(
        [make_exact(), make_trial(WEIGHTS, 0.0, tune_drop=0.0001, score=3.9), make_trial(INT8, 0.004, score=8.0)]
    )
    assert result.extra["chosen"] == "int8"
    assert result.extra["summary"].startswith("int8: 2.0 times faster, 4.0 times smaller; loses 0.40 points of Top-1")
    assert [entry["verdict"] for entry in result.extra["candidates"]] == ["passed on tune; int8 gains more"] * 2 + ["chosen"]


@pytest.mark.parametrize("drop", [0.004, 0.013])
def test_what_the_confirm_data_showed_is_told_in_figures(drop: float) -> None:
    result = confirm([make_exact(), make_trial(WEIGHTS, 0.0, tune_drop=0.02, score=3.9), make_trial(INT8, drop, score=8.0)])
    exact, weights, int8 = result.extra["candidates"]
    assert int8["confirm"] == {
        "metric": "top1", "output": None, "drop": drop, "interval": [drop, drop], "limit": 0.01, "n": 100,
        "refused": drop > 0.01,
    }  # fmt: skip
    assert weights["confirm"] is None, "it was not shown them"
    assert (exact["confirm"] is not None) == int8["confirm"]["refused"]


def test_what_fails_steps_down_along_its_own_front_then_to_weights() -> None:
    int8 = make_trial(INT8, 0.02, score=8.0)
    int8.front = tuple(FrontPoint((f"layer{i}",), loss, 1.0) for i, loss in enumerate((1.0, 0.7, 0.3)))
    int8.front_index = 0
    ran: list[tuple[Candidate, Recipe]] = []

    def run(candidate: Candidate, recipe: Recipe) -> Trial:
        ran.append((candidate, recipe))
        return make_trial(candidate, 0.03 if len(ran) == 1 else 0.0, score=6.0)

    weights = make_trial(WEIGHTS, 0.0, tune_drop=0.0001, score=3.9)
    result = confirm([make_exact(), weights, int8], run=run)
    ((_, recipe),) = ran
    (*_, last) = recipe.steps
    assert isinstance(last, recipes.Step)
    assert last.options.float_units == ("layer2",), "0.7 of the loss is not little enough for half of the drop"
    assert result.extra["chosen"] == "int8 weights", "the milder failed too, and none is left"
    told = {entry["name"]: entry["verdict"] for entry in result.extra["candidates"]}
    assert told["int8"] == "on the confirm data it loses 2.0 points of Top-1; at most 1.0 point allowed"
    assert "int8 (milder by 2)" in told
    assert result.extra["other_points"][0]["options"] == "--max-drop 2.2%", "confirm says more than tune"


def test_less_is_pruned_where_what_seemed_as_good_without_pruning_failed_as_well() -> None:
    pruned = make_trial(Candidate(0.4), 0.03, tune_drop=0.0012, score=7.0)
    ran: list[Candidate] = []

    def run(candidate: Candidate, recipe: Recipe) -> Trial:
        ran.append(candidate)
        return make_trial(candidate, 0.0 if candidate.pruning_ratio else 0.03, score=6.0)

    int8 = make_trial(INT8, 0.03, tune_drop=0.0006, score=6.9)
    weights = make_trial(WEIGHTS, 0.0, tune_drop=0.0001, score=3.9)
    result = confirm([weights, int8, pruned], run=run)
    assert [candidate.pruning_ratio for candidate in ran] == [0.21]
    assert result.extra["chosen"] == "prune 21% + int8"


def test_int8_weights_that_will_fail_as_well_step_down_before_the_last_read_that_is_left_for_them() -> None:
    ran: list[Candidate] = []

    def run(candidate: Candidate, recipe: Recipe) -> Trial:
        ran.append(candidate)
        return make_trial(candidate, 0.0 if candidate.scheme == "weights" else 0.02, tune_drop=0.0009, score=4.5)

    pruned = make_trial(Candidate(0.04), 0.012, tune_drop=0.0014, score=6.5)
    int8 = make_trial(INT8, 0.012, tune_drop=0.0014, score=6.0)
    weights = make_trial(WEIGHTS, 0.012, tune_drop=0.0013, score=5.0)
    for trial in (int8, weights):
        trial.front = tuple(FrontPoint((f"layer{i}",), loss, 1.0) for i, loss in enumerate((1.0, 0.1)))
        trial.front_index = 0
    result = confirm([make_exact(), weights, int8, pruned], run=run)
    assert [candidate.name for candidate in ran] == ["int8 (milder by 1)", "int8 weights (milder by 1)"]
    assert result.extra["chosen"] == "int8 weights (milder by 1)"
    assert weights.attempt.confirms == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "told"),
    [(InvalidDataError("NaN at /conv"), "NaN at /conv"), (ValueError("shapes"), "a defect of onnxslim: ValueError: shapes")],
)
def test_a_result_that_fails_on_the_confirm_data_is_passed_over(error: Exception, told: str) -> None:
    def fail(**_: object) -> Result:
        raise error

    int8, weights = make_trial(INT8, 0.0, score=8.0), make_trial(WEIGHTS, 0.0, tune_drop=0.0001, score=3.9)
    int8.attempt.confirm = fail  # type: ignore[method-assign]
    result = confirm([make_exact(), weights, int8])
    assert result.extra["chosen"] == "int8 weights"
    verdicts = {entry["name"]: entry["verdict"] for entry in result.extra["candidates"]}
    assert told in verdicts["int8"]
    assert len(result.warnings) == isinstance(error, ValueError), "a defect is told"


@pytest.mark.parametrize(
    ("error", "told"), [(UnsupportedError("the runtime died"), "the runtime died"), (KeyError("y"), "KeyError")]
)
def test_what_only_the_report_is_about_ends_no_search(error: Exception, told: str) -> None:
    def fail() -> None:
        raise error

    int8 = make_trial(INT8, 0.004, score=8.0)
    cast(Any, int8.attempt).judge_stages = fail
    result = confirm([make_exact(), int8])
    assert result.extra["chosen"] == "int8"
    (warning,) = result.warnings
    assert warning.startswith("what is between the steps was not judged: ")
    assert told in warning


def test_a_finalist_whose_model_was_let_go_is_made_again() -> None:
    int8 = make_trial(INT8, 0.004, score=8.0)
    made, attempt = list[str](), cast(Any, int8.attempt)
    attempt.models, attempt.remake_model = [], lambda: made.append("int8")
    assert confirm([make_exact(), int8]).extra["chosen"] == "int8"
    assert made == ["int8"]


def test_what_ends_the_process_or_fails_of_the_original_too_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> Result:
        raise LimitError("memory")

    int8 = make_trial(INT8, 0.0, score=8.0)
    int8.attempt.confirm = fail  # type: ignore[method-assign]
    with pytest.raises(LimitError, match="memory"):
        confirm([make_exact(), int8])

    def fail_too(*_: object, **__: object) -> Result:
        raise InvalidDataError("NaN in x")

    trials = [make_exact(), make_trial(INT8, 0.0, score=8.0)]
    for trial in trials:
        trial.attempt.confirm = fail_too  # type: ignore[method-assign]
    monkeypatch.setattr(confirmation, "keep_original", fail_too)
    with pytest.raises(InvalidDataError, match="NaN in x"):
        confirm(trials)


def test_confirm_is_read_at_most_five_times() -> None:
    pruned = [make_trial(Candidate(0.8 / 2**i), 0.05, tune_drop=0.009 / 3**i, score=99.0 - i) for i in range(6)]
    trials = [make_exact(), make_trial(WEIGHTS, 0.05, tune_drop=0.0, score=3.9), *pruned]
    trials[0].attempt.drop = 0.05  # type: ignore[attr-defined]
    result = confirm(trials)
    assert result.is_original
    assert sum(cast(Any, trial.attempt).confirms for trial in trials) <= 5


def test_what_is_slower_when_it_is_timed_again_is_not_written() -> None:
    int8, weights = make_trial(INT8, 0.0, score=8.0), make_trial(WEIGHTS, 0.0, score=3.9)
    cast(Any, int8.attempt).retimed = 0.9
    result = confirm([make_exact(), weights, int8])
    assert result.extra["chosen"] == "int8 weights"
    assert result.extra["candidates"][2]["verdict"].startswith("slower when it was timed again")


def test_where_nothing_gains_the_original_stays_and_what_came_nearest_is_told() -> None:
    useless = make_exact()
    useless.speedup = useless.shrinkage = 1.0
    int8 = make_trial(INT8, 0.0, tune_drop=0.021, score=8.0)
    result = confirm([useless, int8])
    assert result.is_original
    assert result.extra["summary"] == (
        "nearest: int8, 2.0 times faster, 4.0 times smaller, loses 2.1 points of Top-1: --max-drop 2.4% accepts that"
    )
    assert result.extra["other_points"][0]["options"] == "--max-drop 2.4%"
    assert cast(Any, int8.attempt).confirms == 0, "what loses too much on tune is no chance to pass by luck"


@pytest.mark.parametrize(("high", "chosen"), [(0.018, "prune 40% + int8"), (0.03, "prune 20% + int8")])
def test_what_tune_could_not_clear_passes_with_all_of_its_error_or_prunes_less(high: float, chosen: str) -> None:
    """Nothing changed among few samples is no proof; nothing changed among many more is, if their error says so."""

    def make_unproven(ratio: float, high: float, score: float) -> Trial:
        trial = make_trial(Candidate(ratio), 0.0, tune_drop=0.0, score=score)
        trial.is_unproven = True
        metric = dataclasses.replace(make_metric(0.0), interval=(0.0, high))
        fake = cast(Any, trial.attempt)

        def confirm(*, judge_stages: bool = True) -> Result:
            fake.result.evaluation = Evaluation([metric], "y", {})
            return cast(Result, fake.result)

        fake.confirm = confirm
        return trial

    trials = [make_exact(), make_unproven(0.2, 0.01, 6.0), make_unproven(0.4, high, 9.0)]
    result = confirm(trials)
    assert result.extra["chosen"] == chosen
    told = {entry["name"]: entry["verdict"] for entry in result.extra["candidates"]}
    if chosen != "prune 40% + int8":
        refused = told["prune 40% + int8"]
        assert refused.startswith("on the confirm data it loses nothing of Top-1; too near")
        assert refused.endswith("100 confirm samples, about 240 would decide")


def test_late_only_the_surest_is_still_asked() -> None:
    int8, weights = make_trial(INT8, 0.05, score=8.0), make_trial(WEIGHTS, 0.0, score=3.9)
    result = confirm([make_exact(), weights, int8], deadline=time.monotonic() - 1)
    assert result.extra["chosen"] == "int8 weights"
    assert cast(Any, int8.attempt).confirms == 1
    assert not hasattr(weights.attempt, "judged_stages"), "what is for the report alone is left out"


def test_where_every_trial_failed_the_first_says_of_what() -> None:
    failed = make_trial(EXACT, 0.0)
    failed.cause, failed.drop, failed.seen_drop = InvalidModelError("it is broken"), math.inf, math.inf
    with pytest.raises(InvalidModelError, match="it is broken"):
        confirm([failed])


def test_a_recipe_whose_last_step_is_no_quantization_has_no_milder_placement() -> None:
    learned = Candidate(recovery_seconds=60.0)
    trial = make_trial(learned, 0.05, score=9.0)
    trial.front, trial.front_index = (FrontPoint((), 1.0, 1.0), FrontPoint(("a",), 0.1, 1.0)), 0
    assert [step.name for step in trial.attempt.recipe.steps] == ["simplify", "quantize", "recover"]  # type: ignore[union-attr]
    result = confirm([make_exact(), trial], run=lambda *_: pytest.fail("it was tried"))
    assert result.extra["chosen"] == "lossless"
    assert make_step("recover", seconds=60.0) in trial.attempt.recipe.steps


VALUES = st.integers(0, 4).map(float) | st.just(float("inf"))


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=12))
def test_the_front_of_trials_is_what_the_definition_says(rows: list[tuple[float, ...]]) -> None:
    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    finite = [row for row in rows if np.isfinite(row).all()]
    expected = {row for row in finite if not any(dominates(other, row) for other in finite)}
    found = pareto_front(rows)
    assert {rows[index] for index in found} == expected
    assert len(found) == len(expected)


def test_of_equal_rows_the_first_stays() -> None:
    assert pareto_front([(1.0, 2.0), (1.0, 2.0)]) == [0]
