"""What ends a child ends nobody else, and is told."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.runtime.isolation import LOADING_CHILD, ask_child, describe_death
from onnxslim.runtime.session_config import SessionConfig, build_request


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11 (SIGSEGV)"),
        ("import os; os.abort()", "signal 6 (SIGABRT)"),
        ("raise SystemExit('gone')", "exit code 1 (gone)"),
    ],
)
def test_a_child_that_dies_says_how(script: str, told: str) -> None:
    assert ask_child(script, build_request(SessionConfig())) == {"died": told}


def test_a_signal_without_a_name_is_a_number() -> None:
    assert describe_death(-250, "") == "signal 250 (unknown)"


def test_a_child_answers_with_where_it_runs_or_with_the_error(digits: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model_file.save(digits, path)
    request = build_request(SessionConfig())
    assert ask_child(LOADING_CHILD, {**request, "model": str(path)}) == {"providers": ["CPUExecutionProvider"]}
    path.write_bytes(b"no model")
    assert ask_child(LOADING_CHILD, {**request, "model": str(path)})["error"] == "InvalidProtobuf"


def test_a_child_imports_nothing_from_the_folder_it_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken in')")
    monkeypatch.chdir(tmp_path)
    answer = ask_child("print(json.dumps({'ort': ort.__file__}))", build_request(SessionConfig()))
    assert not answer["ort"].startswith(str(tmp_path))
