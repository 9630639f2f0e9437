"""What a trial counts: the speed that its timing proves, and the drop that its samples prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim import optimize
from onnxslim.core.errors import GateError, LimitError
from onnxslim.pipeline.attempt import Attempt
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.task import CompressionTask, prepare_task
from onnxslim.search.candidate import Candidate
from onnxslim.search.trial import LARGER, discount_ratio, run_trial
from onnxslim.validation.gates import Gates
from onnxslim.validation.metrics.accumulator import MetricResult
from tests.search.test_confirmation import make_trial
from tests.support.paths import SAMPLES

MODEL, CALIB = str(SAMPLES / "digits_mlp.onnx"), str(SAMPLES / "digits_calib.npz")
EVAL = str(SAMPLES / "digits_eval.npz")


@given(st.floats(0.1, 10), st.floats(0, 2), st.floats(0, 2))
def test_what_a_noisy_clock_promises_counts_for_less_and_never_for_its_opposite(
    ratio: float, below: float, above: float
) -> None:
    counted = discount_ratio({"ratio": ratio, "interval": [ratio - below, ratio + above]})
    assert min(1.0, ratio) <= counted <= max(1.0, ratio)
    assert discount_ratio({"ratio": ratio, "interval": [ratio, ratio]}) == pytest.approx(ratio)


def test_exact_steps_that_change_nothing_gain_nothing_whatever_the_clock_says() -> None:
    task = prepare_task(MODEL, "optimize", data=CALIB, tune=0.2)
    trial = run_trial(task, Candidate(scheme=None), Recipe((make_step("simplify"),)), "balanced", use_clock=False)
    assert not trial.gains
    assert not trial.may_pass
    assert trial.outcome.gains is False
    assert (trial.shrinkage < 1) == (LARGER in trial.missed_gates), "its recipe may weigh more than it saved"


@pytest.mark.parametrize(("ratio", "may_pass"), [(0.0, True), (0.2, False)])
def test_what_so_few_samples_cannot_refuse_may_pass_unless_it_was_picked_among_many(ratio: float, may_pass: bool) -> None:
    trial = make_trial(Candidate(ratio), 0.0)
    trial.seen_drop, trial.drop, trial.least_drop = 0.04, 0.05, 0.005
    assert trial.may_pass == may_pass
    trial.least_drop = 0.03
    assert not trial.may_pass


def test_what_keeps_a_trial_out_is_told_and_not_the_guard_that_lost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = MetricResult("agreement", 1.0, 0.985, 0.015, (0.0, 0.05), 52, share=True, point=0.02, guards=True)
    doubtful = MetricResult("confidence", 0.9, 0.893, 0.007, (-0.003, 0.017), 52, share=True)
    monkeypatch.setattr(CompressionTask, "estimate_metrics", lambda *_: [guard, doubtful])
    recipe = Recipe((make_step("simplify"),), Gates(max_drop=0.01))
    task = prepare_task(MODEL, "optimize", data=CALIB, tune=0.2)
    trial = run_trial(task, Candidate(scheme=None), recipe, "balanced", use_clock=False)
    assert trial.drop > 0.01 > trial.seen_drop
    doubt = "too near the 1.0 point allowed for 52 tune samples, about 150 would decide"
    assert trial.loss == ("loses 0.70 points of Expected top-1", doubt)


@pytest.mark.parametrize("error", [KeyError("node_1: its weight is no constant"), RuntimeError("two\nlines"), IndexError()])
def test_a_defect_that_one_candidate_meets_is_told_and_the_search_goes_on(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was found before is lost by what nobody expected."""
    original = Attempt.apply

    def apply(self: Attempt) -> None:
        if any(step.name == "quantize" for step in self.recipe.steps):  # type: ignore[union-attr]
            raise error
        original(self)

    monkeypatch.setattr(Attempt, "apply", apply)
    result = optimize(MODEL, data=CALIB, eval_data=EVAL, budget=3.0, placement="static")
    told = {entry["name"]: entry["verdict"] for entry in result.extra["candidates"]}
    assert told["int8"].startswith(f"failed: this is a defect of onnxslim: {type(error).__name__}: ")
    assert "\n" not in told["int8"]
    assert any("int8 weights: this is a defect" in line and "please report it" in line for line in result.warnings)


def test_what_can_be_pruned_is_told_of_what_exact_steps_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(self: Attempt) -> None:
        raise GateError("40 % is the most that can go", prunable_share=0.4)

    monkeypatch.setattr(Attempt, "apply", apply)
    candidate, task = Candidate(0.2, scheme=None), prepare_task(MODEL, "optimize", data=CALIB, tune=0.2)
    trial = run_trial(task, candidate, Recipe(candidate.steps("static", idle_share=0.3)), "balanced")
    assert trial.outcome.prunable_share == pytest.approx(0.1 / 0.7)


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device"), LimitError("no memory")])
def test_where_the_process_may_not_go_on_the_search_does_not(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(self: Attempt) -> None:
        raise error

    monkeypatch.setattr(Attempt, "apply", apply)
    with pytest.raises(type(error)):
        run_trial(
            prepare_task(MODEL, "optimize", data=CALIB, tune=0.2), Candidate(), Recipe((make_step("simplify"),)), "balanced"
        )
