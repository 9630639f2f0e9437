"""Recipes: what they may say, how they are read, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

from onnxslim.core.version import __version__
from onnxslim.model_io import model_file
from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe_run import run_recipe
from tests.support.paths import SAMPLES


def test_a_written_model_carries_its_recipe_under_the_documented_keys(tmp_path: Path) -> None:
    result = run_recipe(model_file.load(SAMPLES / "digits_mlp.onnx"), recipes.PRESETS["lossless"], time_it=False)
    result.save(tmp_path / "slim.onnx")
    metadata = model_file.load(tmp_path / "slim.onnx").metadata_props
    assert metadata["onnxslim.recipe"] == result.recipe
    assert metadata["onnxslim.version"] == __version__
    assert recipes.load(tmp_path / "slim.onnx") == recipes.PRESETS["lossless"]
