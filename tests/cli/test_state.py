"""``--state`` on the command line: sequences in, and a pair that does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save


@pytest.fixture
def recurrent(tmp_path: Path) -> Path:
    """next = state + x, y = next + next; and an output of another shape than the state."""
    shape = ["batch", 3]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "state")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("y", "next")]
    outputs.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", 1]))
    nodes = [
        helper.make_node("Add", ["state", "x"], ["next"]),
        helper.make_node("Add", ["next", "next"], ["y"]),
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    path = tmp_path / "recurrent.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).standard_normal((3, 5, 3)).astype(np.float32))
    return path


def test_evaluating_sequences_tells_the_error_over_time(run: Callable[..., Any], recurrent: Path) -> None:
    data = recurrent.with_name("d.npz")
    found = run("evaluate", recurrent, recurrent, "--data", data, "--state", "next=state", "--output", "y", "--json")
    assert found.code == 0
    assert found.json["data"]["confirm"]["sequences"] == 3
    assert found.json["data"]["confirm"]["n"] == 15
    assert [s["first"] for s in found.json["outputs"]["y"]["over_time"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pair", "code", "said"),
    [
        ("nope=state", 2, "no output nope"),
        ("next=nope", 2, "no input nope"),
        ("next", 2, "expected name=value, or auto"),
        ("auto", 2, "by their shapes these go together: y=x or next=x for 'x', y=state or next=state for 'state'"),
        ("mean=state", 3, "mean=state: the output has shape (batch, 1), expected (batch, 3) as the input"),
    ],
)
def test_a_pair_that_does_not_fit_is_named(
    run: Callable[..., Any], recurrent: Path, pair: str, code: int, said: str
) -> None:
    found = run("evaluate", recurrent, recurrent, "--data", recurrent.with_name("d.npz"), "--state", pair)
    assert found.code == code
    assert said in found.err
