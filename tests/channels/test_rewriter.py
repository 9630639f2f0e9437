"""Removing units: what is shared, captured, overridable or in Constant nodes is handled or stays, and never breaks."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.core.errors import UsageError
from onnxslim.graph import shapes
from onnxslim.graph.cost import count_params
from tests.support.channel_graphs import convs, model, names, sizes
from tests.support.mask_oracle import assert_exact, difference, feeds, remove_units


def test_what_a_subgraph_reads_stays() -> None:
    branch = "g1 () => (float[?,?,?,?] {0}) {{ {0} = Relu(h) }}"
    text = (
        "h = Conv(x, w) r = Relu(h) s = Conv(r, v) t = Relu(s) "
        f"m = If<then_branch = {branch.format('p')}, else_branch = {branch.format('q')}>(c)"
        " z = Add(m, t) y = Conv(z, u)"
    )
    net = model(
        text,
        {"w": (8, 3, 1, 1), "v": (8, 8, 1, 1), "u": (4, 8, 1, 1)},
        inputs="float[1,3,8,8] x, bool c",
        outputs="float[?,?,?,?] y",
    )
    analysis = assert_exact(net)
    assert analysis.count == 0
    assert {pin.reason for pin in analysis.pinned} == {"it is read inside a subgraph", "If has no rule", "graph output"}
    free = text.replace("z = Add(m, t)", "k = Conv(t, o) z = Add(m, k)")
    net = model(
        free,
        {"w": (8, 3, 1, 1), "v": (8, 8, 1, 1), "u": (4, 8, 1, 1), "o": (8, 8, 1, 1)},
        inputs="float[1,3,8,8] x, bool c",
        outputs="float[?,?,?,?] y",
    )
    assert assert_exact(net).count == 8


def test_a_graph_output_that_is_read_on_stays_whole() -> None:
    net = model(
        "h = Conv(x, w) y = Conv(h, v)",
        {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1)},
        outputs="float[?,?,?,?] y, float[?,?,?,?] h",
    )
    assert assert_exact(net).count == 0


def test_all_of_an_axis_cannot_go() -> None:
    net = convs("m = Relu(h)")
    with pytest.raises(UsageError, match="all that some axis consists of"):
        remove_units(net, list(range(8)))


def test_shapes_names_and_metadata_follow() -> None:
    net = convs("m = Relu(h)")
    net.metadata_props["author"] = "somebody"
    shapes.infer(net)
    pruned = remove_units(net, [0, 7])
    values = {v.name: shapes.get_static_dims(v) for node in pruned.graph for v in node.outputs}
    assert values["h"] == values["m"] == (1, 6, 8, 8)
    assert names(list(pruned.graph.inputs)) == ["x"]
    assert pruned.metadata_props["author"] == "somebody"
    assert count_params(net) - count_params(pruned) == 2 * (27 + 1 + 45)
    onnx.checker.check_model(ir.to_proto(pruned), full_check=True)


def test_float16_weights_are_pruned() -> None:
    net = convs("m = Relu(h)")
    for value in net.graph.initializers.values():
        tensor = ir.tensor(value.const_value.numpy().astype(np.float16), name=value.name)
        value.const_value = tensor
        value.type = ir.TensorType(tensor.dtype)
    proto = ir.to_proto(net)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    pruned = remove_units(ir.from_proto(proto), [4])
    assert sizes(pruned)["w_in"] == (7, 3, 3, 3)


def test_unnamed_nodes_are_told_apart() -> None:
    net = convs("r = Relu(h) m = Relu(r)")
    for node in net.graph:
        node.name = None
    assert len({site.name for site in analyze_channels(net).sites}) == 2
    assert_exact(net)


@pytest.mark.parametrize("opset", [9, 18])
def test_bounds_counted_from_the_end_follow_what_goes_behind_them(opset: int) -> None:
    if opset == 9:
        net = convs("m = Slice<starts=[-6], ends=[-1], axes=[1]>(h)", opset=9, read=5)
    else:
        net = convs("m = Slice(h, s, e, a)", {"s": [-6], "e": [-1], "a": [1]}, read=5)
    analysis = analyze_channels(net)
    inputs = feeds(net, 0)
    for unit in range(8):
        assert difference(net, analysis, analysis.to_mask([unit]), inputs) <= 1e-5


def test_a_bias_shared_by_two_layers_is_copied_on_write() -> None:
    net = convs("c = Conv(h, w, b_in) r = Relu(c) m = Conv(r, w2)", {"w": (8, 8, 1, 1), "w2": (8, 8, 1, 1)})
    assert_exact(net)
    pruned = remove_units(net, [0, 1, 9])
    assert sorted(n for n in sizes(pruned) if n.startswith("b_in")) == ["b_in", "b_in_kept"]
    assert {sizes(pruned)["b_in"], sizes(pruned)["b_in_kept"]} == {(6,), (7,)}


def test_a_weight_shared_by_two_layers_keeps_its_reader_that_does_not_change() -> None:
    net = model(
        "a = Conv(x, w) r = Relu(a) y = Conv(r, v) z = Conv(x, w)",
        {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1)},
        outputs="float[?,?,?,?] y, float[?,?,?,?] z",
    )
    assert_exact(net)
    pruned = remove_units(net, [2])
    assert sizes(pruned) == {"w": (8, 3, 1, 1), "w_kept": (7, 3, 1, 1), "v": (4, 7, 1, 1)}


def test_one_constant_read_along_two_axes_by_one_node() -> None:
    net = model("h = MatMul(x, w) g = MatMul(h, w) y = MatMul(g, v)", {"w": (6, 6), "v": (6, 2)}, inputs="float[2,6] x")
    assert assert_exact(net).count == 12


def test_weights_in_constant_nodes_are_pruned_in_place() -> None:
    net = convs("m = Relu(h)")
    for name in ("w_in", "w_out"):
        value = net.graph.initializers.pop(name)
        node = ir.node("Constant", [], {"value": ir.AttrTensor("value", value.const_value)})
        node.outputs[0].name = name
        net.graph.insert_before(net.graph[0], node)
        value.replace_all_uses_with(node.outputs[0])
    net = ir.from_proto(ir.to_proto(net))
    assert assert_exact(net).count == 8
    pruned = remove_units(net, [0])
    constants = [n.attributes["value"].as_tensor() for n in pruned.graph if n.op_type == "Constant"]
    assert sorted(tuple(tensor.shape.numpy()) for tensor in constants) == [(5, 7, 3, 3), (7, 3, 3, 3)]


def test_initializers_that_a_caller_may_override_stay() -> None:
    net = convs("m = Relu(h)", inputs="float[1,3,8,8] x, float[8,3,3,3] w_in")
    analysis = assert_exact(net)
    assert analysis.count == 0


def test_an_initializer_that_a_subgraph_reads_too_is_copied() -> None:
    text = (
        "h = Conv(x, w, b) r = Relu(h) t = Conv(r, v)"
        " m = If<then_branch = g1 () => (float[?] p) { p = Relu(b) },"
        " else_branch = g2 () => (float[?] q) { q = Neg(b) }>(c)"
        " k = Reshape(m, s) y = Mul(t, k)"
    )
    net = model(
        text,
        {"w": (8, 3, 1, 1), "b": (8,), "v": (8, 8, 1, 1), "s": [1, 8, 1, 1]},
        inputs="float[1,3,8,8] x, bool c",
        outputs="float[?,?,?,?] y",
    )
    assert assert_exact(net).count == 8
    pruned = remove_units(net, [0])
    assert sizes(pruned)["b"] == (8,)
