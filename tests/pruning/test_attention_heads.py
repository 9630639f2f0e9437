"""Heads are found however they are written, and only where a chain does nothing but move channels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.layers import find_linear_layers
from onnxslim.pruning.attention_heads import find_head_pairs
from onnxslim.runtime.session import SessionConfig
from tests.support.encoder import small
from tests.support.onnx_text import build, floats

#: queries, keys and values of two heads of 4 in one layer, heads inside
PACKED = """(float[1,5,8] x) => (float[1,5,8] y) {
    product = MatMul (x, w)
    all = Add (product, b)
    shape = Constant <value = int64[5] {1, 5, 3, 2, 4}> ()
    apart = Reshape (all, shape)
    moved = Transpose <perm = [2, 0, 3, 1, 4]> (apart)
    q1, k1, v1 = Split <axis = 0, num_outputs = 3> (moved)
    q = Squeeze (q1, zero)
    k = Squeeze (k1, zero)
    v = Squeeze (v1, zero)
    BETWEEN
    kt = Transpose <perm = [0, 1, 3, 2]> (k)
    scores = MatMul (r, kt)
    p = Softmax <axis = -1> (scores)
    mixed = MatMul (p, v)
    back = Transpose <perm = [0, 2, 1, 3]> (mixed)
    joined = Constant <value = int64[3] {1, 5, 8}> ()
    flat = Reshape (back, joined)
    y = MatMul (flat, o)
}"""


def packed(between: str, batch: int = 1) -> ir.Model:
    factors = {"half": np.float32(0.5), "slopes": np.linspace(0.5, 1, 4, dtype=np.float32), "zero": np.array([0])}
    weights = {"w": floats(8, 24), "b": floats(24), "o": floats(8, 8)}
    body = PACKED.replace("BETWEEN", between).replace("1, 5", f"{batch}, 5").replace("1,5", f"{batch},5")
    return build(body, opset=18, **weights, **factors)


def test_separate_layers_are_found_with_their_heads() -> None:
    model = small()
    layers = find_linear_layers(model.graph)
    pairs = find_head_pairs(model, {"x": np.ones((1, 16, 64), np.float32)}, SessionConfig())
    assert [pair.reads_values for pair in pairs] == [False, False, True, True]
    for pair in pairs:
        np.testing.assert_array_equal(pair.first_channels, np.arange(64).reshape(4, 16))
        np.testing.assert_array_equal(pair.second_channels, np.arange(64).reshape(4, 16))
        assert {pair.first, pair.second} <= set(layers)


def test_heads_of_a_packed_layer_are_found() -> None:
    scores, values = find_head_pairs(packed("r = Mul (q, half)"), {"x": floats(1, 5, 8)}, SessionConfig())
    assert scores.first == scores.second == values.first
    np.testing.assert_array_equal(scores.first_channels, [[0, 1, 2, 3], [4, 5, 6, 7]])
    np.testing.assert_array_equal(scores.second_channels, [[8, 9, 10, 11], [12, 13, 14, 15]])
    np.testing.assert_array_equal(values.first_channels, [[16, 17, 18, 19], [20, 21, 22, 23]])
    np.testing.assert_array_equal(values.second_channels, [[0, 1, 2, 3], [4, 5, 6, 7]])


def test_heads_of_a_fixed_batch_are_found_once() -> None:
    pairs = find_head_pairs(packed("r = Identity (q)", batch=3), {"x": floats(3, 5, 8)}, SessionConfig())
    assert [pair.first_channels.shape for pair in pairs] == [(2, 4), (2, 4)]


@pytest.mark.parametrize("between", ["r = Relu (q)", "r = Mul (q, slopes)", "r = Mul (q, q)"])
def test_queries_that_are_more_than_moved_are_left_alone(between: str) -> None:
    model = packed(between)
    pairs = find_head_pairs(model, {"x": floats(1, 5, 8)}, SessionConfig())
    assert [pair.reads_values for pair in pairs] == [True]


def test_marks_that_are_no_index_find_no_heads() -> None:
    body = PACKED.replace("MatMul (x, w)", "MatMul (chosen, w)").replace("BETWEEN", "r = Identity (q)")
    indices = "score = MatMul (x, u) a = Add (score, c) index = Cast <to = 7> (a) row = Squeeze (index, last)"
    body = body.replace("product =", f"{indices} chosen = Gather (table, row)\n    product =")
    weights = {"w": floats(8, 24), "b": floats(24), "o": floats(8, 8), "zero": np.array([0]), "last": np.array([2])}
    chosen = {"u": np.zeros((8, 1), np.float32), "c": np.ones(1, np.float32), "table": floats(2, 8)}
    model = build(body, opset=18, **weights, **chosen)
    assert find_head_pairs(model, {"x": floats(1, 5, 8)}, SessionConfig()) == []


def test_a_net_without_products_has_no_heads() -> None:
    model = build("(float[1,8] x) => (float[1,8] y) { y = MatMul (x, w) }", w=floats(8, 8))
    assert find_head_pairs(model, {"x": floats(1, 8)}, SessionConfig()) == []
