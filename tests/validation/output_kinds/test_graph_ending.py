"""The ops that make an output."""

from __future__ import annotations

import pytest
from onnx import helper

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
