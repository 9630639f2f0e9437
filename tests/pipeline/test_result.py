"""What a run gives back."""

from __future__ import annotations

from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result
from tests.support.digits_task import CALIB, EVAL, MLP


def test_a_notebook_shows_the_report_in_a_frame() -> None:
    shown = run_recipe(MLP, Recipe((make_step("simplify"),)), data=CALIB, eval_data=EVAL, time_it=False)._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "&lt;h1&gt;digits_mlp.onnx" in shown
    assert "<h1>" not in shown


def test_energy_that_nobody_measured_is_not_called_unmeasurable() -> None:
    result = run_recipe(MLP, Recipe((make_step("simplify"),)), time_it=False)
    assert result.as_json()["energy"] == {"source": "not measured"}
    measured = Result("optimize", extra={"energy": {"source": "RAPL", "command_joules": 1.0}})
    assert measured.as_json()["energy"] == {"source": "RAPL", "command_joules": 1.0}
