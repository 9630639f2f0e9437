"""What a run gives back, as the JSON that scripts read."""

from __future__ import annotations

from onnxslim.pipeline import recipe as recipes
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.result import Result
from tests.support.paths import SAMPLES


def test_energy_that_nobody_measured_is_not_called_unmeasurable() -> None:
    result = run_recipe(str(SAMPLES / "digits_mlp.onnx"), recipes.PRESETS["lossless"], time_it=False)
    assert result.as_json()["energy"] == {"source": "not measured"}
    measured = Result("optimize", extra={"energy": {"source": "RAPL", "command_joules": 1.0}})
    assert measured.as_json()["energy"] == {"source": "RAPL", "command_joules": 1.0}
