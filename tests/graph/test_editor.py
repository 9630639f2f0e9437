"""The graph editor: whatever is done, the graph stays valid, names stay unique, and inputs and outputs keep theirs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import iter_subgraphs, iter_values, walk, walk_graphs

# w is read by two nodes and from inside a branch; the branches have names of their own that new ones could collide with
TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x, bool on) => (float[2,3] y, float[2,3] z) <float[3] w = {1,2,3}, float[3] v = {4,5,6}> {
  [scale] a = Mul(x, w)
  [shift] b = Add(a, v)
  [choose] y = If(on) <then_branch = then () => (float[2,3] w_2) { w_2 = Add(b, w) },
                       else_branch = other () => (float[2,3] shift_output) { shift_output = Relu(b) }>
  [last] z = Sub(y, w)
}"""
X = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)


def make_model() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def find(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in walk(model.graph, iter_subgraphs) if node.name == name)


def run(model: ir.Model, on: bool) -> list[np.ndarray]:
    return [np.asarray(y) for y in ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": X, "on": np.array(on)})]


def assert_sound(model: ir.Model) -> None:
    """Valid, every value's name means one value, every node's one node, and the interface is what it was."""
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    values = [value for graph in walk_graphs(model.graph, iter_subgraphs) for value in iter_values(graph)]
    nodes = [node.name for node in walk(model.graph, iter_subgraphs) if node.name]
    for names in (Counter(value.name for value in values), Counter(nodes)):
        assert max(names.values()) == 1, names
    held = {id(value) for value in values}
    assert all(value is None or id(value) in held for node in walk(model.graph, iter_subgraphs) for value in node.inputs)
    assert [value.name for value in model.graph.inputs] == ["x", "on"]
    assert [value.name for value in model.graph.outputs] == ["y", "z"]


def rewrite_constant(editor: GraphEditor, node: ir.Node) -> None:
    for index, value in enumerate(node.inputs):
        if (array := get_const_array(value)) is not None:
            editor.set_constant(node, index, array.astype(np.float64), "w")


def repeat_node(editor: GraphEditor, node: ir.Node) -> None:
    if node.op_type != "If":
        again = editor.add_node(node.op_type, *node.inputs, before=node, name=node.name or "", attributes=node.attributes)
        editor.replace_node(node, again)


def double_and_halve(editor: GraphEditor, node: ir.Node) -> None:
    if node.inputs[0] is None or node.inputs[0].dtype == ir.DataType.BOOL:
        return
    two = editor.add_initializer("w", np.float32(2))
    doubled = editor.add_node("Mul", node.inputs[0], two, before=node, name="shift", output="a")
    halved = editor.add_node("Div", doubled, two, after=doubled.producer(), name="shift")
    editor.replace_input(node, 0, halved)


def insert_identity(editor: GraphEditor, node: ir.Node) -> None:
    old = node.outputs[0]
    readers = list(old.uses())
    new = editor.add_node("Identity", old, after=node, name="last")
    if old.is_graph_output():
        editor.replace_value(old, new, is_new=True)
        new.producer().replace_input_with(0, old)
    else:
        for use in readers:
            editor.replace_input(use.node, use.idx, new)


def remove_everything_unread(editor: GraphEditor, node: ir.Node) -> None:
    editor.remove_all_unread()


EDITS = (rewrite_constant, repeat_node, double_and_halve, insert_identity, remove_everything_unread)


@given(st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 99)), max_size=8))
def test_edits_that_should_change_nothing_change_nothing(edits: list) -> None:
    model = make_model()
    editor = GraphEditor(model.graph)
    for edit, number in edits:
        nodes = list(walk(model.graph, iter_subgraphs))
        edit(editor, nodes[number % len(nodes)])
    assert_sound(model)
    for on in (True, False):
        for expected, got in zip(run(make_model(), on), run(model, on), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_a_new_name_is_one_that_no_graph_has() -> None:
    model = make_model()
    editor = GraphEditor(model.graph)
    names = [str(editor.add_initializer("w", np.zeros(2)).name) for _ in range(3)]
    assert names == ["w_3", "w_4", "w_5"]  # w_2 is in a branch
    assert editor.make_unique_name("free") == "free"
    assert editor.make_unique_name("free") == "free_2"


def test_a_name_is_free_again_once_what_had_it_is_gone() -> None:
    model = make_model()
    editor = GraphEditor(model.graph)
    added = editor.add_initializer("extra", np.zeros(2))
    editor.remove_unread([added])
    assert "extra" not in model.graph.initializers
    assert editor.make_unique_name("extra") == "extra"


@pytest.mark.parametrize("array", [np.float32(3), np.zeros((), np.int8), np.arange(6).reshape(2, 3).T])
def test_an_initializer_keeps_shape_and_type(array: np.ndarray) -> None:
    value = GraphEditor(make_model().graph).add_initializer("c", array)
    assert tuple(value.shape) == array.shape
    assert value.dtype == ir.DataType.from_numpy(array.dtype)
    np.testing.assert_array_equal(value.const_value.numpy(), array)


def test_a_constant_that_others_read_too_is_left_to_them() -> None:
    model = make_model()
    editor = GraphEditor(model.graph)
    editor.set_constant(find(model, "scale"), 1, np.zeros(3), "mine")
    editor.set_constant(find(model, "shift"), 1, np.ones(2, np.float64), "mine")
    assert find(model, "scale").inputs[1].name == "mine"
    assert find(model, "last").inputs[1].const_value.numpy().tolist() == [1, 2, 3]
    shift = find(model, "shift").inputs[1]
    assert (shift.name, shift.dtype, list(shift.shape)) == ("v", ir.DataType.FLOAT, [2])


def test_an_input_that_the_node_did_not_have_is_added() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1,1,3] x) => (float[1,2,3] y) <float[2,1,1] w = {1,2}> '
        "{ y = Conv(x, w) }"
    )
    node = model.graph[0]
    GraphEditor(model.graph).set_constant(node, 2, np.zeros(2, np.float32), "b")
    assert [value.name for value in node.inputs] == ["x", "w", "b"]
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_what_only_a_branch_read_goes_with_the_branch() -> None:
    model = make_model()
    editor = GraphEditor(model.graph)
    editor.replace_value(find(model, "choose").outputs[0], find(model, "scale").outputs[0], is_new=False)
    neighbors = editor.remove_unread([find(model, "choose")])
    assert [node.name for node in model.graph] == ["scale", "last"]
    assert list(model.graph.initializers) == ["w"]
    assert neighbors == [find(model, "last")]  # alone with what scale makes now


def test_what_a_caller_may_feed_or_asks_for_stays() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 3, opset_import: ["" : 17]> g (float[1] x, float[1] fed) => (float[1] y, float[1] kept) '
        "<float[1] fed = {1}, float[1] kept = {2}, float[1] unread = {3}> { y = Relu(x) \n dead = Abs(x) }"
    )
    assert GraphEditor(model.graph).remove_all_unread() == 2
    assert list(model.graph.initializers) == ["fed", "kept"]
    assert [node.op_type for node in model.graph] == ["Relu"]


def test_who_takes_the_place_of_a_node_takes_its_name_type_and_shape() -> None:
    model = make_model()
    editor, old = GraphEditor(model.graph), find(model, "last")
    new = editor.add_node("Max", old.inputs[0], before=old, name="other")
    editor.replace_node(old, new)
    assert (new.name, new.dtype, list(new.shape), new.producer().name) == ("z", ir.DataType.FLOAT, [2, 3], "last")
    assert_sound(model)


def test_the_second_of_a_name_is_numbered_as_asked() -> None:
    editor = GraphEditor(make_model().graph, numbered_from=1)
    assert [editor.make_unique_name("v") for _ in range(2)] == ["v_1", "v_2"]
    twins = [editor.add_node("Relu", None, name="scale").producer() for _ in range(2)]
    assert [node.name for node in twins] == ["scale_1", "scale_2"]


def test_a_graph_returns_the_new_value_under_the_old_name_and_readers_stay() -> None:
    model = make_model()
    editor, node = GraphEditor(model.graph), find(model, "choose")
    reader = editor.add_node("Abs", node.outputs[0], name="reader")
    old = node.outputs[0]
    editor.replace_output(old, editor.add_cast(old, ir.DataType.DOUBLE, name="cast"), "y_single")
    assert [value.name for value in model.graph.outputs] == ["y", "z"]
    assert model.graph.outputs[0].dtype == ir.DataType.DOUBLE
    assert reader.producer().inputs[0] is old
    assert old.name == "y_single"
    editor.remove_all_unread()
    assert_sound(model)
