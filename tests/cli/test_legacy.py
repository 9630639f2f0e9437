"""``onnxslim IN [OUT]`` and ``onnxslim.slim``: the habits of the PyPI package onnxslim 0.1.98."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxslim
from onnxslim.core.errors import GateError
from tests.support.legacy import outputs, two_inputs
from tests.support.listed_weights import listed, names_of_inputs

Run = Callable[..., "object"]
slim_module = importlib.import_module("onnxslim.compat.drop_in")
IMAGE = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)


def test_in_out_simplifies_and_prints_a_table(run: Run, wide: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    outcome = run(wide, out)
    assert outcome.code == 0
    assert "BatchNormalization" in outcome.out
    assert len(onnx.load(out).graph.node) < len(onnx.load(wide).graph.node)
    np.testing.assert_allclose(outputs(out, image=IMAGE)[0], outputs(wide, image=IMAGE)[0], rtol=1e-4, atol=1e-4)


def test_weights_listed_as_inputs_become_constants_and_that_is_said(run: Run, tmp_path: Path) -> None:
    path, out = tmp_path / "listed.onnx", tmp_path / "out.onnx"
    path.write_bytes(listed().SerializeToString())
    assert "5 weights were listed as inputs too and are constants now" in run(path, out).err
    assert names_of_inputs(onnx.load(out)) == ["x"]
    assert run(path, out, "--keep-initializer-inputs").code == 0
    assert names_of_inputs(onnx.load(out)) == names_of_inputs(listed())


def test_out_may_be_in(run: Run, wide: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    shutil.copy(wide, path)
    assert run(path, path).code == 0
    assert len(onnx.load(path).graph.node) < len(onnx.load(wide).graph.node)


def test_without_out_nothing_is_written(run: Run, wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run(wide)
    assert outcome.code == 0
    assert "nothing was written" in outcome.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["inspect", "optimize"])
def test_a_file_called_like_a_command_is_reached_by_a_path(
    run: Run, wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(wide, name)
    assert run(f"./{name}", "out.onnx").code == 0
    assert os.path.exists("out.onnx")
    outcome = run(name)
    assert outcome.code == 2
    assert f"./{name}" in outcome.err


def test_inspect_takes_several_models_and_dumps_them(
    run: Run, cnn: str, wide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("--inspect", cnn, wide, "--dump-to-disk")
    assert outcome.code == 0
    assert "digits_cnn.onnx" in outcome.out
    lines = Path("digits_wide.onnx_model_info.csv").read_text().splitlines()
    assert lines[0] == "NodeName,OpType,OutputDtype,OutputShape"
    assert len(lines) > len(onnx.load(wide).graph.node)
    assert run(cnn, "--dump-to-disk").code == 2


def test_flags_take_several_values(run: Run, tmp_path: Path) -> None:
    path, out = tmp_path / "two.onnx", tmp_path / "out.onnx"
    onnx.save(two_inputs(), path)
    assert run(path, out, "--input-shapes", "a:2,4", "b:2,4", "--model-check", "--verbose").code == 0
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in onnx.load(out).graph.input]
    assert shapes == [[2, 4], [2, 4]]


def test_the_bare_form_shows_where_it_failed_too(run: Run, wide: str, tmp_path: Path) -> None:
    assert run(wide, tmp_path / "out.onnx", "--debug").code == 0
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    outcome = run(tmp_path / "broken.onnx", tmp_path / "out.onnx", "--debug")
    assert outcome.code == 3
    assert "Traceback" in outcome.err
    assert "Traceback" not in run(tmp_path / "broken.onnx", tmp_path / "out.onnx").err


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simplification that is wrong."""
    right = slim_module.simplify

    def simplify(model: object, options: object, **more: object) -> object:
        result, report = right(model, options, **more)
        for node in result.graph:
            if node.op_type == "Gemm":
                node.attributes.add(ir.AttrFloat32("alpha", 1.01))
        return result, report

    monkeypatch.setattr(slim_module, "simplify", simplify)


@pytest.mark.usefixtures("wrong")
def test_a_failed_check_is_seen_by_everybody(run: Run, wide: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert onnxslim.slim(wide, model_check=True) is None
    with pytest.raises(GateError, match="logits differs"):
        onnxslim.slim(wide, out, model_check=True)
    assert run(wide, out, "--model-check").code == 5
    assert not out.exists()


def test_the_check_takes_shapes_and_arrays(run: Run, wide: str, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", IMAGE)
    for given in ("image:2,1,8,8", f"image:{tmp_path / 'image.npy'}"):
        assert run(wide, tmp_path / "o.onnx", "--model-check", "--model-check-inputs", given).code == 0
    assert run(wide, tmp_path / "o.onnx", "--model-check", "--model-check-inputs", "image").code == 2
