"""The ops that make an output."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxslim.validation.output_kinds.graph_ending import find_ending
from tests.support.node_graphs import FLOAT, build

NORMS = {
    "ReduceL2": [("ReduceL2", ["x"], "n"), ("Div", ["x", "n"], "y")],
    "sum of squares": [("Mul", ["x", "x"], "s"), ("ReduceSum", ["s"], "t"), ("Sqrt", ["t"], "n"), ("Div", ["x", "n"], "y")],
    "clipped": [("ReduceL2", ["x"], "m"), ("Clip", ["m"], "n"), ("Div", ["x", "n"], "y")],
    "reciprocal": [("ReduceL2", ["x"], "m"), ("Reciprocal", ["m"], "n"), ("Mul", ["x", "n"], "y")],
}


@pytest.mark.parametrize("name", NORMS)
def test_a_division_by_the_length_is_seen(name: str) -> None:
    nodes = [helper.make_node(op, given, [made]) for op, given, made in NORMS[name]]
    assert find_ending(build(nodes, {"x": (FLOAT, ["b", 8])}, {"y": (FLOAT, ["b", 8])}), "y").has_unit_length


def test_ops_that_move_values_about_are_looked_through() -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=-1),
        helper.make_node("Transpose", ["s"], ["t"]),
        helper.make_node("Identity", ["t"], ["y"]),
        helper.make_node("Div", ["x", "x"], ["z"]),
    ]
    model = build(nodes, {"x": (FLOAT, ["b", 8])}, {"y": (FLOAT, [8, "b"]), "z": (FLOAT, ["b", 8])})
    ending = find_ending(model, "y")
    assert (ending.op, ending.axis, ending.passed) == ("Softmax", -1, ("Identity", "Transpose"))
    assert not find_ending(model, "z").has_unit_length
    assert find_ending(model, "nope").op == ""


def find_probability_op(nodes: list[onnx.NodeProto], inits: dict[str, np.ndarray] | None = None) -> str:
    """What makes ``y``, from ``x`` (b, 8), a probability."""
    return find_ending(build(nodes, {"x": (FLOAT, ["b", 8])}, {"y": (FLOAT, None)}, inits), "y").probability_op


def make_if(then_op: str, else_op: str) -> list[onnx.NodeProto]:
    """``y`` of a branch that ends in ``then_op`` or one in ``else_op``."""
    branches = {}
    for name, op in (("then_branch", then_op), ("else_branch", else_op)):
        made = helper.make_node(op, ["x"], [name])
        branches[name] = helper.make_graph([made], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)])
    size = helper.make_node("Size", ["x"], ["size"])
    condition = helper.make_node("Cast", ["size"], ["condition"], to=TensorProto.BOOL)
    return [size, condition, helper.make_node("If", ["condition"], ["y"], **branches)]


def test_branches_that_end_alike_are_looked_into() -> None:
    model = build(make_if("Sigmoid", "Sigmoid"), {"x": (FLOAT, ["b", 8])}, {"y": (FLOAT, ["b", 8])})
    ending = find_ending(model, "y")
    assert (ending.op, ending.probability_op, ending.passed) == ("Sigmoid", "Sigmoid", ("If",))
    assert find_ending(build(make_if("Sigmoid", "Tanh"), {"x": (FLOAT, None)}, {"y": (FLOAT, None)}), "y").op == "If"
    assert find_probability_op(make_if("Sigmoid", "Tanh")) == ""
    assert find_probability_op(make_if("Sigmoid", "HardSigmoid")) != ""


AXES, ONE, HALF = {"a": np.array([1])}, {"a": np.array([1.0], np.float32)}, {"a": np.array([0.5], np.float32)}
PATHS = {
    "mean": ([("ReduceMean", ["s", "a"])], AXES, True),
    "pick": ([("Gather", ["s", "a"]), ("Transpose", ["m0"])], AXES, True),
    "complement": ([("Sub", ["a", "s"])], ONE, True),
    "product": ([("Mul", ["s", "s"]), ("Mul", ["m0", "a"])], HALF, True),
    "shifted": ([("Sub", ["a", "s"])], HALF, False),
    "sum": ([("ReduceSum", ["s", "a"])], AXES, False),
    "scaled": ([("Mul", ["s", "x"])], {}, False),
    "joined with what is none": ([("Concat", ["s", "x"])], {}, False),
}


@pytest.mark.parametrize("name", PATHS)
def test_probabilities_are_seen_through_what_keeps_them_between_zero_and_one(name: str) -> None:
    path, inits, expected = PATHS[name]
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"])]
    for at, (op, given) in enumerate(path):
        made = "y" if at == len(path) - 1 else f"m{at}"
        nodes.append(helper.make_node(op, given, [made], **({"axis": 1} if op == "Concat" else {})))
    assert find_probability_op(nodes, inits) == ("Sigmoid" if expected else "")


@pytest.mark.parametrize(
    ("shape", "expected"), [(["b", "frames"], True), ([1, "frames", 1], True), (["b", 8], False), (["b", "h", "w"], False)]
)
def test_one_value_a_step_of_a_free_length_is_seen_in_the_shape(shape: list[str | int], expected: bool) -> None:
    model = build([helper.make_node("Sigmoid", ["x"], ["y"])], {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)})
    assert find_ending(model, "y").has_free_length is expected
