"""A copied model is the same bytes, data files and all, and never takes the place of somebody else's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import UsageError
from onnxslim.model_io import model_file
from onnxslim.model_io.model_copy import copy_model
from tests.support.paths import SAMPLES

MODEL = SAMPLES / "digits_mlp.onnx"


def write_external(folder: Path, location: str) -> Path:
    """An identity-like model whose one weight lies in ``location`` beside it, as the onnx package writes it."""
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])],
        [weight],
    )
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_a_copy_is_the_same_bytes(tmp_path: Path) -> None:
    assert copy_model(MODEL, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == MODEL.read_bytes()


def test_data_beside_the_model_are_copied_by_the_name_the_model_says(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source = write_external(tmp_path / "in", "data/weights.bin")
    assert copy_model(source, tmp_path / "out" / "slim.onnx")
    assert (tmp_path / "out" / "slim.onnx").read_bytes() == source.read_bytes()
    assert (tmp_path / "out/data/weights.bin").read_bytes() == (tmp_path / "in/data/weights.bin").read_bytes()
    assert model_file.size_on_disk(tmp_path / "out" / "slim.onnx") == model_file.size_on_disk(source)


def test_in_its_own_folder_the_data_are_there_already_and_onto_itself_nothing_is_done(tmp_path: Path) -> None:
    source = write_external(tmp_path, "weights.bin")
    before = (tmp_path / "weights.bin").stat().st_mtime_ns, source.stat().st_mtime_ns
    assert copy_model(source, tmp_path / "slim.onnx")
    assert copy_model(source, source)
    assert ((tmp_path / "weights.bin").stat().st_mtime_ns, source.stat().st_mtime_ns) == before
    model_file.load(tmp_path / "slim.onnx")


def test_data_of_the_same_name_that_are_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = write_external(tmp_path / "in", "weights.bin")
    (tmp_path / "weights.bin").write_bytes(b"somebody else's")
    assert not copy_model(source, tmp_path / "slim.onnx")
    assert (tmp_path / "weights.bin").read_bytes() == b"somebody else's"
    assert not (tmp_path / "slim.onnx").exists()


def test_our_own_data_of_the_model_that_is_replaced_go(tmp_path: Path) -> None:
    model_file.save(model_file.load(MODEL), tmp_path / "out.onnx", external_data=True)
    (data,) = model_file.find_data_files(tmp_path / "out.onnx").values()
    assert copy_model(MODEL, tmp_path / "out.onnx")
    assert not Path(data).exists()
    assert (tmp_path / "out.onnx").read_bytes() == MODEL.read_bytes()


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        copy_model(MODEL, tmp_path / "nowhere" / "out.onnx")


def test_a_copy_that_is_found_wrong_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    source, seen = write_external(tmp_path / "in", "weights.bin"), []

    def refuse(draft: str) -> None:
        seen.append(Path(draft).read_bytes() == source.read_bytes())
        model_file.load(draft)
        raise UsageError("so it is")

    with pytest.raises(UsageError, match="so it is"):
        copy_model(source, tmp_path / "out" / "slim.onnx", refuse)
    assert seen == [True]
    assert list((tmp_path / "out").iterdir()) == []
