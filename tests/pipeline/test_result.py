"""What a run gives back."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import LimitError
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result, compute_facts
from tests.support.digits_task import CALIB, EVAL, MLP
from tests.support.node_graphs import chain


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


def test_the_facts_of_a_large_model_are_taken_without_one_message_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain()
    whole = compute_facts(model)
    monkeypatch.setattr(model_file, "MAPPED_LIMIT", 1)
    found = compute_facts(model)
    assert (found.path, found.params, found.macs) == (None, whole.params, whole.macs)
    assert abs(found.bytes - whole.bytes) < 0.1 * whole.bytes
    assert len(found.sha256) == 64

    def refuse(model: ir.Model, folder: str) -> str:
        raise LimitError("the model: No space left on device")

    monkeypatch.setattr(model_file, "save_for_runtime", refuse)
    assert compute_facts(model) == whole
