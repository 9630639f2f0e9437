"""The table of how fast simplified files are: what it finds, how it says so, and when it ends with 1."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import exact_speed
import numpy as np
import pytest

from onnxslim.model_io import model_file
from tests.support.onnx_text import build, floats

TEXT = "(float[N,4] x) => (float[N,4] y) { a = Mul (x, c) b = Mul (a, c) y = Relu (b) }"


def given(*sources: Path, **more: Any) -> argparse.Namespace:
    return argparse.Namespace(sources=[str(source) for source in sources], exports=False, **more)


def test_models_folders_and_manifests_are_found_with_the_data_beside_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        model_file.save(build(TEXT, c=floats(4)), tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "b.fit.npz", x=floats(3, 4))
    manifest = tmp_path / "all.json"
    manifest.write_text(json.dumps([{"name": "first", "model": "a.onnx", "fit": "b.fit.npz"}]))
    found = list(exact_speed.find_models(given(tmp_path, tmp_path / "a.onnx", manifest)))
    assert [(name, path.name, data and data.name) for name, path, data in found] == [
        ("a", "a.onnx", None), ("b", "b.onnx", "b.fit.npz"), ("a", "a.onnx", None), ("first", "a.onnx", "b.fit.npz"),
    ]  # fmt: skip


def test_a_model_is_simplified_timed_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_file.save(build(TEXT, c=floats(4)), tmp_path / "chain.onnx")
    out = tmp_path / "out.jsonl"
    options = ["--rounds", "5", "--seconds", "0.1", "--floor", "0.01", "--models", str(tmp_path), "--json", str(out)]
    with pytest.raises(SystemExit) as ended:
        exact_speed.main([str(tmp_path / "chain.onnx"), *options])
    assert ended.value.code == 0
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["nodes"] == {"original": 3, "ours": 2}
    assert row["speed"]["ours"]["ratio"] > 0.01
    assert "2 of 3" in capsys.readouterr().out


def test_what_is_below_the_floor_or_did_not_come_out_is_slower() -> None:
    row: dict[str, Any] = {"name": "m", "nodes": {"original": 3, "ours": 2}, "speed": {}, "failed": {}}
    row["speed"]["ours"] = {"ratio": 0.97, "interval": [0.96, 0.98]}
    assert exact_speed.is_slower(row, 0.98)
    assert "SLOWER" in exact_speed.describe(row, 0.98)
    assert not exact_speed.is_slower(row, 0.95)
    assert exact_speed.is_slower({**row, "failed": {"ours": "no"}}, 0.95)
