"""A constant of one branch whose name another branch reads from outside: read as the runtime runs it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from onnx import TensorProto, helper, numpy_helper

from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.nested_scopes import feeds_of_scopes, nested_scopes

X = np.full((1, 4), 3, np.float32)


def constant(value: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.full(4, value, np.float32), "w")


def declare(name: str, kind: int = TensorProto.FLOAT, shape: list[int | str] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def build(outer: str, *, reads: bool, depth: int = 0) -> onnx.ModelProto:
    """``then`` multiplies by its own w, 2; ``else``, ``depth`` graphs deep, adds the outer w if it ``reads`` it."""
    then = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["a"])], "t", [], [declare("a")], [constant(2)])
    other = helper.make_graph([helper.make_node("Add", ["x", "w" if reads else "x"], ["b"])], "e", [], [declare("b")])
    for level in range(depth):
        inner = helper.make_node("If", ["c"], [f"b{level}"], then_branch=other, else_branch=other)
        other = helper.make_graph([inner], f"e{level}", [], [declare(f"b{level}")])
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)]
    if outer == "Constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=constant(10)))
    if outer == "Abs":
        nodes.insert(0, helper.make_node("Abs", ["x"], ["w"]))
    graph = helper.make_graph(
        nodes, "main",
        [declare("x", shape=["n", 4]), declare("c", TensorProto.BOOL, [])], [declare("y", shape=["n", 4])],
        [constant(10)] if outer == "initializer" else [],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def run_raw(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return np.asarray(ort.InferenceSession(proto.SerializeToString(), options).run(None, feed)[0])


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("outer", ["initializer", "Constant"])
def test_it_is_what_the_runtime_takes_it_for(outer: str, depth: int, reads: bool) -> None:
    proto = build(outer, reads=reads, depth=depth)
    model = model_file.load(proto)
    for c in (True, False):
        feed = {"x": X, "c": np.array(c)}
        np.testing.assert_array_equal(Session(model, SessionConfig(optimize=False)).run(feed)["y"], run_raw(proto, feed))
    then = Session(model).run({"x": X, "c": np.array(True)})["y"]
    assert then[0, 0] == (30 if reads else 6)


def test_one_that_nobody_else_reads_hides_a_value_that_is_computed() -> None:
    model = model_file.load(build("Abs", reads=False))
    assert Session(model).run({"x": X, "c": np.array(True)})["y"][0, 0] == 6


@settings(max_examples=30, deadline=None)
@given(nested_scopes())
def test_whatever_the_names_a_model_that_the_runtime_takes_is_read_as_it_runs(proto: onnx.ModelProto) -> None:
    for feed in feeds_of_scopes():
        try:
            expected = run_raw(proto, feed)
        except Exception:  # the runtime refuses some of the ways to use a name twice, with errors of its own
            return
        found = Session(model_file.load(proto), SessionConfig(optimize=False)).run(feed)["y"]
        np.testing.assert_array_equal(found, expected)
