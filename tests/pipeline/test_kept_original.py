"""Where nothing is gained the original is what it was, byte for byte; gates that ask for more still fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import GateError
from onnxslim.model_io import model_file
from onnxslim.pipeline.kept_original import NOTHING_GAINED, keep_original
from onnxslim.pipeline.recipe import Recipe, make_step, parse
from onnxslim.pipeline.task import prepare_task
from onnxslim.search.optimization import optimize
from onnxslim.validation.gates import Gates
from tests.support.digits_task import CALIB, EVAL, MLP


def write_small(folder: Path, *, external: bool = False) -> Path:
    """A MatMul by a weight of 33 numbers, which no int8 makes smaller."""
    weight = numpy_helper.from_array(np.linspace(-1, 1, 33, dtype=np.float32).reshape(33, 1), "w")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", d]) for n, d in (("x", 33), ("y", 1)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "small.onnx"
    onnx.save_model(model, path, save_as_external_data=external, location="small.bin", size_threshold=0)
    return path


def make_data() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((64, 33)).astype(np.float32)}


@pytest.mark.parametrize("external", [False, True])
def test_a_search_that_gains_nothing_writes_the_original_byte_for_byte(external: bool, tmp_path: Path) -> None:
    source = write_small(tmp_path, external=external)
    (tmp_path / "out").mkdir()
    result = optimize(source, data=make_data(), budget=3.0, placement="static")
    assert result.extra["summary"].startswith(NOTHING_GAINED)
    assert result.extra["chosen"] == "original"
    result.save(tmp_path / "out" / "slim.onnx")
    assert (tmp_path / "out" / "slim.onnx").read_bytes() == source.read_bytes()
    if external:
        assert (tmp_path / "out" / "small.bin").read_bytes() == (tmp_path / "small.bin").read_bytes()
    document = result.as_json()
    assert document["output"]["bytes"] == document["input"]["bytes"]
    assert parse(document["recipe"]).steps == ()
    assert all(len(entry["verdict"]) <= 120 for entry in document["candidates"])


def test_a_gate_that_nothing_meets_still_fails_with_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="at least 50× is asked") as caught:
        optimize(write_small(tmp_path), data=make_data(), budget=3.0, placement="static", min_ratio=50)
    assert caught.value.result.extra["candidates"]  # type: ignore[attr-defined]


def test_the_original_is_as_right_as_itself_and_is_judged_for_the_report() -> None:
    task = prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL)
    result = keep_original(task, Recipe((make_step("simplify"),), Gates(max_drop=0.0, min_agreement=1.0)), "because")
    assert result.evaluation is not None
    assert result.evaluation.metric.drop == 0
    assert result.extra["summary"] == f"{NOTHING_GAINED}; because"
    assert result.as_json()["output"]["sha256"] == result.as_json()["input"]["sha256"]


def test_a_model_that_is_no_file_is_written_as_it_is(tmp_path: Path) -> None:
    model = model_file.load(MLP)
    result = keep_original(prepare_task(model, "optimize"), Recipe(), "because")
    result.save(tmp_path / "slim.onnx")
    assert model_file.to_bytes(model_file.load(tmp_path / "slim.onnx")) == model_file.to_bytes(model)


def test_a_file_that_changed_meanwhile_is_written_as_it_was_read(tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(Path(MLP).read_bytes())
    result = keep_original(prepare_task(source, "optimize"), Recipe(), "because")
    source.write_bytes(b"other")
    result.save(tmp_path / "slim.onnx")
    model_file.load(tmp_path / "slim.onnx")


def test_a_decoder_that_is_kept_has_the_times_of_a_step_and_of_a_prompt() -> None:
    place = {"provider": "CPU", "threads": 1, "batch": 1}
    timed = {**place, "of": "step", "rounds": {"original": [1.0, 1.2], "result": [2.0, 2.0]}}
    timed["prompt"] = {**place, "of": "prompt", "rounds": {"original": [10.0, 10.0], "result": [30.0, 30.0]}}
    recipe = Recipe(gates=Gates(max_prompt_latency=0.02, max_latency=0.005))
    result = keep_original(prepare_task(MLP, "optimize"), recipe, "because", timed=timed)
    assert result.latency is not None
    assert (result.latency["of"], result.latency["ratio"]) == ("step", 1.0)
    assert (result.latency["prompt"]["of"], result.latency["prompt"]["result"]["median_ms"]) == ("prompt", 10.0)
