"""What a run gives back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result, compute_facts
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


@pytest.mark.parametrize(("inline_limit", "files"), [(1 << 31, 1), (1000, 2)])
def test_the_facts_of_a_model_in_memory_are_those_of_the_file_that_is_written(
    inline_limit: int, files: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(model_file, "INLINE_LIMIT", inline_limit)
    monkeypatch.setattr(model_file, "MAPPED_LIMIT", 500)  # from which on the runtime gets a file
    result = run_recipe(MLP, Recipe((make_step("simplify"),)), time_it=False)
    result.save(tmp_path / "out.onnx")
    assert len(list(tmp_path.iterdir())) == files
    assert result.model is not None
    assert result.output == compute_facts(result.model)
    assert compute_facts(result.model, tmp_path / "out.onnx") == replace(result.output, path=str(tmp_path / "out.onnx"))
