"""Blocks that can be left out, and models without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.channels.removable_blocks import drop_block, find_blocks
from onnxslim.core.errors import UsageError
from onnxslim.graph.cost import compute_cost
from onnxslim.runtime.session import Session, check_loads
from onnxslim.simplification.step import simplify
from tests.support.channel_graphs import convs, model
from tests.support.mask_oracle import PLAIN, feeds

RESIDUAL = (
    "r = Relu(h) a = Conv<pads=[1,1,1,1]>(r, w1) b = Relu(a) c = Conv(b, w2) d = Add(r, c) m = Relu(d)",
    {"w1": (6, 8, 3, 3), "w2": (8, 6, 1, 1)},
)


def run(net: ir.Model, seed: int = 0) -> np.ndarray:
    x = feeds(net, seed)
    return np.asarray(Session(net, PLAIN).run(x)["y"])


def test_a_residual_branch_is_a_block() -> None:
    net = convs(*RESIDUAL)
    (block,) = find_blocks(net)
    assert (block.entry, block.exit, block.residual) == ("r", "d", True)
    assert block.nodes == ("Conv_2", "Relu_3", "Conv_4")
    assert block.params == 6 * 8 * 9 + 8 * 6
    assert block.macs == block.params * 64


def test_dropping_a_block_leaves_its_input() -> None:
    net = convs(*RESIDUAL)
    (block,) = find_blocks(net)
    without = drop_block(net, block)
    assert np.allclose(run(without), run(convs("r = Relu(h) m = Relu(r)")), atol=1e-6)
    assert compute_cost(net).params - compute_cost(without).params == block.params
    assert compute_cost(net).macs - compute_cost(without).macs == block.macs
    assert "d" in {value.name for node in without.graph for value in node.outputs}
    assert len(net.graph) == 8


@pytest.mark.parametrize("shape", [(8,), (8, 1, 1), (1, 8, 1, 1)])
def test_a_block_is_replaced_by_its_mean_effect(shape: tuple[int, ...]) -> None:
    net = convs(*RESIDUAL)
    (block,) = find_blocks(net)
    mean = np.linspace(-1, 1, 8)
    without = drop_block(net, block, mean.reshape(shape))
    assert np.allclose(
        run(without),
        run(convs("r = Relu(h) d = Add(r, k) m = Relu(d)", {"k": mean.reshape(8, 1, 1).astype(np.float32)})),
        atol=1e-5,
    )


def test_either_of_two_parallel_branches() -> None:
    net = convs("a = Conv(h, w1) b = Conv(h, w2) m = Add(a, b)", {"w1": (8, 8, 1, 1), "w2": (8, 8, 1, 1)})
    found = find_blocks(net)
    assert [(b.entry, b.exit, b.nodes, b.residual) for b in found] == [
        ("a", "m", ("Conv_2",), False),
        ("b", "m", ("Conv_1",), False),
    ]
    for block in found:
        check_loads(drop_block(net, block))


def test_blocks_are_dropped_one_after_the_other_by_name() -> None:
    text = "".join(f" a{i} = Conv(h{i}, w) h{i + 1} = Add(h{i}, a{i})" for i in range(4))
    net = convs(f"h0 = Relu(h) {text} m = Relu(h4)", {"w": (8, 8, 1, 1)})
    found = find_blocks(net)
    assert len(found) == 4
    assert [b.params for b in found] == [0, 0, 0, 0]  # one weight for all
    for block in found:
        net = drop_block(net, block, np.zeros(8))
    check_loads(net)
    assert "w" not in net.graph.initializers


@pytest.mark.parametrize(
    "text",
    [
        "p = GlobalAveragePool(h) q = Conv(p, w) m = Add(q, h)",  # only h has the shape of the sum
        "q = Conv(h, w) d = Add(h, q) e = Relu(q) m = Mul(d, e)",  # read elsewhere
        "q = Relu(h) m = Add(h, q)",  # holds no layer
    ],
)
def test_what_is_no_block(text: str) -> None:
    found = find_blocks(convs(text, {"w": (8, 8, 1, 1)} if "w" in text else {}))
    assert [block for block in found if block.entry != "h"] == []
    assert len(found) <= 1


def test_a_block_that_is_not_there() -> None:
    net = convs(*RESIDUAL)
    (block,) = find_blocks(net)
    with pytest.raises(UsageError, match="no block from r to d"):
        drop_block(drop_block(net, block), block)


def test_attention_and_feed_forward_are_blocks() -> None:
    net = model(
        "h = MatMul(x, w0) n = LayerNormalization(h, s) q = MatMul(n, w) k = MatMul(n, w) t = Transpose<perm=[0,2,1]>(k)"
        " g = MatMul(q, t) p = Softmax(g) o = MatMul(p, n) a = Add(h, o) f = MatMul(a, u) r = Relu(f) v = MatMul(r, z)"
        " b = Add(a, v) y = MatMul(b, w0)",
        {"w0": (6, 6), "s": (6,), "w": (6, 6), "u": (6, 12), "z": (12, 6)},
        inputs="float[2,5,6] x",
        outputs="float[?,?,?] y",
    )
    assert [(b.entry, b.exit, b.residual) for b in find_blocks(net)] == [("h", "a", True), ("a", "b", True)]


def test_identity_blocks_of_a_residual_net(zoo: Path) -> None:
    net, _ = simplify(zoo / "cifar10_resnet56.onnx")
    found = [block for block in find_blocks(net) if block.residual]
    assert len(found) == 25
    without = net
    for block in found[::2]:
        without = drop_block(without, block)
    check_loads(without)
    assert compute_cost(net).macs - compute_cost(without).macs == sum(block.macs for block in found[::2])
