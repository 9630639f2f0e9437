"""What a run gives back."""

from __future__ import annotations

from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from tests.support.digits_task import CALIB, EVAL, MLP


def test_a_notebook_shows_the_report_in_a_frame() -> None:
    shown = run_recipe(MLP, Recipe((make_step("simplify"),)), data=CALIB, eval_data=EVAL, time_it=False)._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "&lt;h1&gt;digits_mlp.onnx" in shown
    assert "<h1>" not in shown
