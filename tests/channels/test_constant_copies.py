"""A constant is changed for those who asked and stays for all others."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.channels.rewriter import remove_units
from tests.support.channel_graphs import convs, model, sizes
from tests.support.mask_oracle import assert_exact


def test_a_bias_shared_by_two_layers_is_copied_on_write() -> None:
    net = convs("c = Conv(h, w, b_in) r = Relu(c) m = Conv(r, w2)", {"w": (8, 8, 1, 1), "w2": (8, 8, 1, 1)})
    assert_exact(net)
    pruned, _ = remove_units(net, [0, 1, 9])
    assert sorted(n for n in sizes(pruned) if n.startswith("b_in")) == ["b_in", "b_in_kept"]
    assert {sizes(pruned)["b_in"], sizes(pruned)["b_in_kept"]} == {(6,), (7,)}


def test_a_weight_shared_by_two_layers_keeps_its_reader_that_does_not_change() -> None:
    net = model(
        "a = Conv(x, w) r = Relu(a) y = Conv(r, v) z = Conv(x, w)",
        {"w": (8, 3, 1, 1), "v": (4, 8, 1, 1)},
        outputs="float[?,?,?,?] y, float[?,?,?,?] z",
    )
    assert_exact(net)
    pruned, _ = remove_units(net, [2])
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
    pruned, _ = remove_units(net, [0])
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
    pruned, _ = remove_units(net, [0])
    assert sizes(pruned)["b"] == (8,)
