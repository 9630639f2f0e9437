"""The size of a model on its way to a browser, against gzip itself."""

import gzip
from pathlib import Path

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.download_size import measure_download
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe

SAMPLES = Path(__file__).parents[2] / "sample_models"


def test_it_is_what_gzip_makes_of_each_file() -> None:
    models = [model_file.load(str(SAMPLES / name)) for name in ("digits_wide.onnx", "digits_mlp.onnx")]
    found = measure_download(*models)
    wide, narrow = (len(gzip.compress(model_file.to_bytes(model), compresslevel=6)) for model in models)
    # gzip's own header may hold the time, never another length
    assert found == {"original": wide, "result": narrow, "encoding": "gzip"}


@pytest.mark.parametrize("target", ["web", "tensorrt"])
def test_only_what_is_sent_to_where_it_runs_has_one(target: str) -> None:
    recipe = Recipe((make_step("quantize", target=target, placement="static"),))
    result = run_recipe(str(SAMPLES / "digits_mlp.onnx"), recipe, data=str(SAMPLES / "digits_calib.npz"), time_it=False)
    download = result.extra.get("download")
    if target == "tensorrt":
        assert download is None
    else:
        assert download is not None
        assert download["result"] < download["original"] / 2
