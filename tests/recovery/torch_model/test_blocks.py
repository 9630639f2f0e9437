"""Where a network can be cut at one tensor, and the blocks between cuts."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.graph import shapes
from onnxslim.recovery.torch_model.blocks import divide_into_blocks, find_cuts, match_cuts
from onnxslim.recovery.torch_model.trainable_weights import find_weights
from tests.support import torch_graphs as nets


def residual() -> object:
    """x → (a + branch(a)) → y: inside the branch nothing can be cut."""
    eye = np.eye(4, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Shape", ["x"], ["looked_at"]),
        helper.make_node("MatMul", ["a", "w1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Add", ["a", "d"], ["e"]),
        helper.make_node("MatMul", ["e", "w3"], ["f"]),
        helper.make_node("Reshape", ["f", "looked_at"], ["y"]),
    ]
    return nets.build(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, {f"w{i}": eye * (i + 1) for i in range(4)})


def test_a_residual_branch_is_never_cut_and_shape_arithmetic_does_not_hide_a_cut() -> None:
    model = residual()
    shapes.infer(model)
    assert [value.name for value in find_cuts(model.graph, ["w0", "w1", "w2", "w3"])] == ["a", "e", "f"]


def test_blocks_hold_every_weight_once_and_end_at_the_cuts() -> None:
    graph = residual().graph
    assert divide_into_blocks(graph, ["a", "e"], ["w0", "w1", "w2", "w3"], 9) == {
        "a": ["w0"],
        "e": ["w1", "w2"],
        "": ["w3"],
    }
    assert divide_into_blocks(graph, ["a", "e"], ["w0", "w1", "w2", "w3"], 1) == {"": ["w0", "w1", "w2", "w3"]}
    assert divide_into_blocks(graph, [], ["w3"], 9) == {"": ["w3"]}


def test_cuts_of_one_name_and_type_are_matched_whatever_their_size() -> None:
    narrow, wide = nets.mlp(hidden=8), nets.mlp(hidden=16)
    for model in (narrow, wide):
        shapes.infer(model)
    weights = list(find_weights(narrow.graph))
    assert match_cuts(narrow, wide, weights) == (["g", "h"], [])
    wide.graph[0].outputs[0].name = "renamed"
    assert match_cuts(narrow, wide, weights) == (["h"], ["g"])


def test_what_no_weight_makes_goes_past_a_cut() -> None:
    eye = np.eye(4, dtype=np.float32)
    nodes = [
        helper.make_node("Sub", ["one", "flags"], ["mask"]),
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Add", ["a", "mask"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("Add", ["c", "mask"], ["d"]),
        helper.make_node("Add", ["d", "x"], ["y"]),
    ]
    constants = {"w0": eye, "w1": eye, "one": np.ones((), np.float32)}
    model = nets.build(nodes, {"x": ["n", 4], "flags": ["n", 4]}, {"y": ["n", 4]}, constants)
    shapes.infer(model)
    assert [value.name for value in find_cuts(model.graph, ["w0", "w1"])] == ["a", "b", "c", "d"]
    assert [value.name for value in find_cuts(model.graph, ["w1"])] == ["c", "d"]
