"""``onnxslim profile`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

Run = Callable[..., "object"]


def test_profile_shares_add_up(run: Run, cnn: str) -> None:
    (model,) = run("profile", cnn, "--json").json["models"]
    assert sum(node["share"] for node in model["nodes"]) == pytest.approx(1)
    assert sum(op["count"] for op in model["ops"]) == len(model["nodes"])
    times = [node["ms"] for node in model["nodes"]]
    assert times == sorted(times, reverse=True)


def test_profile_puts_the_layers_of_two_models_side_by_side(
    run: Callable[..., Any], cnn: str, calib: str, tmp_path: Path
) -> None:
    int8 = tmp_path / "int8.onnx"
    assert run("quantize", cnn, "-o", int8, "--data", calib, "--placement", "static", "--max-samples", 8).code == 0
    found = run("profile", cnn, int8, "--data", calib, "--json").json
    by_name = {layer["name"]: layer["ms"] for layer in found["layers"]}
    convolutions = [node.name for node in onnx.load(cnn).graph.node if node.op_type == "Conv"]
    assert all(None not in by_name[name] for name in convolutions)
    for index, model in enumerate(found["models"]):
        assert sum(ms[index] or 0 for ms in by_name.values()) == pytest.approx(model["total_ms"])
    assert "times faster" in run("profile", cnn, int8, "--data", calib).out
