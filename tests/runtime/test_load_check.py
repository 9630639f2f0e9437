"""What the runtime would do to production's process happens in a child, and is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim import benchmark, evaluate, profile
from onnxslim.core.errors import InvalidModelError, LimitError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.runtime import load_check
from onnxslim.runtime.load_check import check_file_loads, check_survives, holds_half_floats, loads, save_checked
from onnxslim.runtime.session import Session
from onnxslim.runtime.session_config import SessionConfig
from tests.support.fatal_models import FATAL_PERMS, dies, refused_when_optimized, transposed_product
from tests.support.quantize_graphs import model

WAY_OUT = "optimization.disable_specified_optimizers"


def with_unknown_op(text: str, **constants: np.ndarray) -> ir.Model:
    made = model(text, **constants)
    made.opset_imports["no.such"] = 1
    return made


@pytest.mark.parametrize(("perm", "dims"), FATAL_PERMS)
def test_a_model_that_ends_the_process_is_an_error_and_says_how_to_live_with_it(
    perm: tuple[int, ...], dims: tuple[int, ...]
) -> None:
    made = transposed_product(perm, dims)
    if not dies(made):
        pytest.skip("this runtime does not die of it")
    with pytest.raises(UnsupportedError, match=r"died while it optimised the model: signal 11 \(SIGSEGV\)") as caught:
        Session(made)
    assert WAY_OUT in str(caught.value.hint)
    key, _, value = str(caught.value.hint).rpartition(" ")[2].partition("=")
    x = np.ones(dims, np.float16)
    found = Session(made, SessionConfig(session_options={key: value})).run({"x": x})["y"]
    np.testing.assert_array_equal(found, Session(made, SessionConfig(optimize=False)).run({"x": x})["y"])


@pytest.mark.parametrize(
    "use",
    [
        lambda made, data: benchmark([made], open_samples(data, made)),
        lambda made, data: profile(made, open_samples(data, made)),
        lambda made, data: evaluate(made, open_samples(data, made), reference=made),
        lambda made, data: run_recipe(made, Recipe((make_step("quantize", weights="int8"),)), data=data, command="quantize"),
    ],
    ids=["benchmark", "profile", "evaluate", "quantize"],
)
def test_whatever_runs_a_model_survives_one_that_ends_the_process(use: Callable[[ir.Model, Any], Any]) -> None:
    perm, dims = FATAL_PERMS[0]
    made = transposed_product(perm, dims)
    if not dies(made):
        pytest.skip("this runtime does not die of it")
    with pytest.raises(UnsupportedError, match="died while it optimised"):
        use(made, {"x": np.ones((16, *dims[1:]), np.float16)})


def test_a_file_is_loaded_as_production_loads_it(tmp_path: Path) -> None:
    refused, path = refused_when_optimized(), tmp_path / "model.onnx"
    model_file.save(refused, path)
    try:
        Session(refused)
    except InvalidModelError:
        with pytest.raises(InvalidModelError, match="refuses the model") as caught:
            check_file_loads(path)
        assert "optimisation off" in str(caught.value.hint)
        check_survives(refused)
    check_file_loads(path, SessionConfig(optimize=False))


def test_a_file_that_only_the_result_fails_to_load_is_not_written(tmp_path: Path, digits: ir.Model) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(b"what was there")
    broken = with_unknown_op("g (float[2] x) => (float[2] y) { y = no.such.Op(x) }")
    with pytest.raises(UnsupportedError, match=r"nothing was written: of the result .*Op"):
        save_checked(broken, path, digits)
    assert path.read_bytes() == b"what was there"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.onnx"]
    assert "could not be tried" in str(save_checked(broken, path, broken))
    assert save_checked(digits, path, digits) is None
    assert path.read_bytes() == model_file.to_bytes(digits)


def test_where_memory_runs_out_while_it_is_tried_it_is_written_and_that_is_said(
    tmp_path: Path, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.runtime.load_check.ask_child", lambda script, request: {"died": "signal 9 (SIGKILL)"})
    assert "memory" in str(save_checked(digits, tmp_path / "out.onnx", digits))
    assert (tmp_path / "out.onnx").exists()
    check_survives(digits, SessionConfig(threads=7))


@pytest.mark.parametrize("full", ["the folder cannot be made", "the file cannot be written", "the process is killed"])
def test_want_of_room_is_no_refusal_by_the_runtime(
    full: str, tmp_path: Path, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    broken = with_unknown_op("g (float[2] x) => (float[2] y) { y = no.such.Op(x) }")
    config = SessionConfig(threads=5)
    assert (loads(digits, config), loads(broken, config)) == (True, False)
    if full == "the process is killed":
        monkeypatch.setattr(load_check, "ask_child", lambda script, request: {"died": "signal 9 (SIGKILL)"})
    elif full == "the folder cannot be made":
        monkeypatch.setattr(load_check.tempfile, "TemporaryDirectory", refuse)
    else:
        monkeypatch.setattr(model_file, "iter_bytes", refuse)
    for made in (digits, broken):
        with pytest.raises(LimitError, match=r"No space left|memory runs out") as caught:
            loads(made, config)
        assert "TMPDIR" in str(caught.value.hint) or "killed" in caught.value.message
        check_survives(made, config)  # which refuses what dies, and nothing else


def test_a_result_is_not_written_where_there_is_no_room_to_try_the_original(
    tmp_path: Path, digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise LimitError("No space left on device")

    broken = with_unknown_op("g (float[2] x) => (float[2] y) { y = no.such.Op(x) }")
    monkeypatch.setattr(model_file, "save_for_runtime", refuse)
    with pytest.raises(LimitError, match="no temporary file can be made to load the model from: No space left"):
        save_checked(broken, tmp_path / "out.onnx", digits)
    assert not list(tmp_path.iterdir())
    assert save_checked(digits, tmp_path / "out.onnx", digits) is None


def test_data_beside_a_file_that_is_not_written_go_with_it(tmp_path: Path, digits: ir.Model) -> None:
    broken = with_unknown_op(
        "g (float[n,64] x) => (float[n,64] y) { h = MatMul(x, w) \n y = no.such.Op(h) }", w=np.zeros((64, 64), np.float32)
    )
    with pytest.raises(UnsupportedError, match="nothing was written"):
        save_checked(broken, tmp_path / "out.onnx", digits, external_data=True)
    assert not list(tmp_path.iterdir())
    assert save_checked(digits, tmp_path / "out.onnx", digits, external_data=True) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("g (float16[n] x) => (float16[n] y) { y = Relu(x) }", True),
        ("g (float[n] x) => (float[n] y) { h = Cast<to=10>(x) \n y = Cast<to=1>(h) }", True),
        ("g (float[n] x) => (float[n] y) { y = Relu(x) }", False),
    ],
)
def test_half_floats_are_seen(text: str, expected: bool) -> None:
    made = model(text)
    assert holds_half_floats(made) == expected
