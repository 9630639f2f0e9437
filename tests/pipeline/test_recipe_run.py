"""A recipe carried out and judged: gates, slower results, noise, figures of the fit data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from onnxslim.core.errors import GateError
from onnxslim.pipeline import recipe_run
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.runtime.timing import Timing
from onnxslim.search.optimization import optimize
from onnxslim.validation.gates import Gates
from tests.support.digits_task import CALIB, EVAL, MLP, MODEL

STATIC = Recipe((make_step("simplify"), make_step("quantize", placement="static")), Gates(max_drop=0.01))


def test_a_recipe_that_cannot_meet_its_gate_fails_with_the_evidence() -> None:
    harsh = Recipe((make_step("prune", remove=0.9, of="params", criterion="random"),), Gates(max_drop=1e-6))
    with pytest.raises(GateError, match="top1 drops by") as caught:
        run_recipe(MODEL, harsh, data=CALIB, eval_data=EVAL, time_it=False)
    assert caught.value.result.evaluation is not None


def test_a_result_that_is_slower_is_not_passed_over_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(sessions: Mapping[str, object], *_: object, **__: object) -> Timing:
        return Timing({name: np.full(30, 1.0 if name == "0" else 2.0) for name in sessions}, "cpu", 1, 1)

    monkeypatch.setattr(recipe_run, "interleave", slow)
    result = run_recipe(MLP, Recipe((make_step("simplify"),)), data=CALIB, eval_data=EVAL)
    assert any("slower than the original" in line for line in result.warnings)
    searched = optimize(MLP, data=CALIB, eval_data=EVAL, budget=1.0)
    assert searched.extra["candidates"][0]["missed"] == ["slower than the original"]


def test_a_noisy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    for spread, noisy in ((0.01, False), (0.8, True)):
        rounds = {name: np.exp(draw.normal(0, spread, 30)) for name in "01"}
        monkeypatch.setattr(recipe_run, "interleave", lambda *_, rounds=rounds, **__: Timing(rounds, "cpu", 1, 1))
        result = run_recipe(MLP, Recipe((make_step("simplify"),)), data=CALIB, eval_data=EVAL)
        assert any("noisy" in line for line in result.warnings) == noisy


def test_figures_of_the_fit_data_stand_beside_those_held_back() -> None:
    result = run_recipe(MODEL, STATIC, data=CALIB, eval_data=EVAL, time_it=False)
    fitted = result.as_json()["fit_metrics"]
    assert "agreement" in [metric["name"] for metric in fitted]
    assert all(metric["n"] <= 256 for metric in fitted)
