"""How an outcome leaves the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

Run = Callable[..., "object"]


def test_commands_without_a_model_write_their_json(run: Run, cnn: str, tmp_path: Path) -> None:
    out = tmp_path / "inspect.json"
    assert run("inspect", cnn, "-o", out, "-q").code == 0
    written, printed = json.loads(out.read_text()), run("inspect", cnn, "--json").json
    assert written["metadata"].pop("repeat with") != printed["metadata"].pop("repeat with")
    assert written == printed


@pytest.mark.parametrize("ending", ["html", "md"])
def test_a_report_of_a_command_without_a_model_is_its_table(run: Run, cnn: str, tmp_path: Path, ending: str) -> None:
    report = tmp_path / f"r.{ending}"
    assert run("inspect", cnn, "--report", report, "-q").code == 0
    assert "ReduceMean" in report.read_text()
    assert "digits_cnn.onnx" in report.read_text()


def test_explain_says_how_figures_were_measured(run: Run, wide: str, tmp_path: Path) -> None:
    plain = run("simplify", wide, "-o", tmp_path / "a.onnx").out
    explained = run("simplify", wide, "-o", tmp_path / "b.onnx", "--explain").out
    assert "bytes on disk" in explained
    assert "bytes on disk" not in plain


def test_names_from_a_model_cannot_steer_the_terminal(run: Run, wide: str, tmp_path: Path) -> None:
    model = onnx.load(wide)
    model.producer_name = "\x1b[31mred\x1b]0;title\x07"
    path = tmp_path / "evil.onnx"
    onnx.save(model, path)
    assert "\x1b" not in run("inspect", path).out
