"""``onnxslim inspect --channels``: what could be pruned, and what it would save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.tools.inspection import Port

Run = Callable[..., "object"]


def test_groups_blocks_and_pins_are_listed_with_their_savings(run: Run, cnn: str) -> None:
    found = run("inspect", cnn, "--channels", "--json").json["models"][0]["channels"]
    assert sum(group["units"] for group in found["groups"]) == found["units"] > 0
    total = compute_cost(model_file.load(cnn))
    for group in found["groups"]:
        assert 0 < group["params_each"] * group["units"] <= 2 * total.params
        assert group["seconds_half"] is None
    assert {pin["reason"] for pin in found["pinned"]} == {"graph output"}
    assert all(block["seconds"] is None for block in found["blocks"])
    people = run("inspect", cnn, "--channels").out
    for heading in ("made by", "read by", "MACs each", "What has to stay", "graph output"):
        assert heading in people
    assert "half saves" not in people


def test_time_is_measured_when_asked_for(run: Run, cnn: str) -> None:
    found = run("inspect", cnn, "--channels", "--time", "--json").json["models"][0]["channels"]
    assert all(abs(group["seconds_half"]) < 1 for group in found["groups"])
    assert "half saves" in run("inspect", cnn, "--time").out


def test_a_formula_for_a_dimension_is_not_printed_in_full() -> None:
    told = str(Port("y", "float", ("batch", None, 3, "(floor(floor(height/2 - 1/2)/2) + 1)*(width)")))
    assert told == "float (batch, ?, 3, …)"


def test_inspect_counts_as_onnx_does(run: Run, wide: str) -> None:
    model = onnx.load(wide)
    found = run("inspect", wide, "--json").json["models"][0]
    ops = [node.op_type for node in model.graph.node]
    assert found["ops"] == {op: ops.count(op) for op in sorted(set(ops))}
    assert found["nodes"] == len(ops)
    floats = (w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT)
    assert found["facts"]["params"] >= sum(int(np.prod(w.dims)) for w in floats)
    assert found["facts"]["bytes"] == Path(wide).stat().st_size
    assert found["inputs"] == [{"name": "image", "dtype": "float", "shape": ["batch", 1, 8, 8]}]
