"""``onnxslim compare`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

Run = Callable[..., "object"]


def test_compare_finds_the_first_layer_that_went_wrong(run: Run, wide: str, tmp_path: Path) -> None:
    model = onnx.load(wide)
    weight = next(w for w in model.graph.initializer if len(w.dims) == 4 and w.dims[0] > 8)
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    found = run("compare", wide, broken, "--data", "random", "--layers", "--json").json["comparison"]
    assert not found["equal"]
    bad = [layer for layer in found["layers"] if layer["first_bad"]]
    assert len(bad) == 1
    before = found["layers"][: found["layers"].index(bad[0])]
    assert bad[0]["sqnr_db"] < 10
    assert all(layer["sqnr_db"] is None or layer["sqnr_db"] > 60 for layer in before)
    reader = next(node for node in model.graph.node if node.op_type == "Conv" and weight.name in node.input)
    assert bad[0]["name"] in reader.output


def test_compare_saves_the_inputs_whose_answer_changed(
    run: Callable[..., Any], cnn: str, wide: str, evals: str, tmp_path: Path
) -> None:
    out = tmp_path / "changed.npz"
    found = run("compare", cnn, wide, "--data", evals, "--save-changed", out, "--json")
    changed = found.json["comparison"]["changed"]["samples"]
    assert found.code == 0
    assert changed
    again = run("compare", cnn, wide, "--data", out, "--json").json["comparison"]["changed"]["samples"]
    assert again == list(range(len(changed)))
    assert run("compare", cnn, wide, "--data", evals, "--save-changed", out).code == 2
    assert run("compare", cnn, wide, "--save-changed", tmp_path / "other.npz").code == 2
