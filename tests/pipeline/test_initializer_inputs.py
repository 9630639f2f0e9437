"""Initializers that are listed as inputs too: constants everywhere, unless data are fed to them or they are to stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxslim
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step, parse
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.runtime.session import Session
from tests.support.listed_weights import GAIN, ROWS, X, listed, names_of_inputs

Run = Callable[..., Any]
STEPS = {
    "simplify": (make_step("simplify"),),
    "prune": (make_step("simplify"), make_step("prune", remove=0.2, of="params", round_to=1, min_layer_params=0)),
    "quantize": (make_step("simplify"), make_step("quantize", weights="int8:qdq")),
}


def as_proto(model: Any) -> onnx.ModelProto:
    return onnx.load_from_string(model_file.to_bytes(model))


@pytest.mark.parametrize("ir_version", [3, 6])
@pytest.mark.parametrize("name", STEPS)
def test_they_become_constants_and_that_is_said(name: str, ir_version: int) -> None:
    result = run_recipe(listed(ir_version), Recipe(STEPS[name]), data={"x": X}, time_it=False)
    proto = as_proto(result.model)
    onnx.checker.check_model(proto, full_check=True)
    is_required_by_format = proto.ir_version < 4
    assert (names_of_inputs(proto) == ["x"]) != is_required_by_format
    lines = [line for line in result.as_json()["warnings"] if "listed as inputs" in line]
    assert lines == ([] if ir_version < 4 else [lines[0]])
    assert ir_version < 4 or lines[0].startswith("5 weights were listed as inputs too and are constants now")
    assert Session(model_file.load(proto)).inputs == ["x"]


@pytest.mark.parametrize("name", STEPS)
def test_what_data_are_fed_to_stays_an_input(name: str) -> None:
    data = {"x": X, "gain": np.full(ROWS, GAIN)}
    result = run_recipe(listed(), Recipe(STEPS[name]), data=data, time_it=False)
    assert names_of_inputs(as_proto(result.model)) == ["x", "gain"]
    feed = {"x": X[:4], "gain": GAIN}
    before, after = Session(model_file.load(listed())).run(feed)["y"], Session(result.model).run(feed)["y"]
    if name != "prune":
        np.testing.assert_allclose(before, after, rtol=0.05, atol=0.05 * np.abs(before).max())
    assert np.abs(after).max() > 2 * np.abs(Session(result.model).run({"x": X[:4]})["y"]).max()


def test_all_stay_inputs_where_that_is_asked_for_and_the_recipe_says_so() -> None:
    recipe = Recipe((make_step("simplify"),), keep_initializer_inputs=True)
    result = run_recipe(listed(), recipe, data={"x": X}, time_it=False)
    assert names_of_inputs(as_proto(result.model)) == names_of_inputs(listed())
    assert result.recipe is not None
    assert parse(result.recipe).keep_initializer_inputs


def test_the_steps_as_functions_do_the_same() -> None:
    model = listed()
    for result, report in (
        onnxslim.simplify(model),
        onnxslim.quantize(model, None, onnxslim.quantization.options.QuantizeOptions(weights="int8:qdq")),  # type: ignore[attr-defined]
        onnxslim.prune(model, None, onnxslim.pruning.options.PruneOptions(remove=0.2, round_to=1, min_layer_params=0)),  # type: ignore[attr-defined]
    ):
        assert names_of_inputs(as_proto(result)) == ["x"]
        assert any("listed as inputs" in line for line in report.warnings)
    kept, report = onnxslim.simplify(model, kept_inputs=["gain"])
    assert names_of_inputs(as_proto(kept)) == ["x", "gain"]
    assert names_of_inputs(model) == names_of_inputs(listed()), "what was given is not changed"


def test_a_search_takes_them_as_constants_too(tmp_path: Path) -> None:
    result = onnxslim.optimize(listed(), data={"x": X}, budget=1.0)
    result.save(tmp_path / "out.onnx")
    assert Session(model_file.load(tmp_path / "out.onnx")).inputs == ["x"]


def test_times_are_compared_with_the_file_as_it_was_given() -> None:
    result = run_recipe(listed(), Recipe((make_step("simplify"),)), data={"x": X})
    assert result.latency is not None
    assert result.input is not None
    assert result.input.macs > 0
