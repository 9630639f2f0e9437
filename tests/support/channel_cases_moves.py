"""Ops that move, cut and join channels: name -> (model, number of units expected)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.support.channel_graphs import convs, matmuls, model, recurrent

INDEX: dict[str, tuple[ir.Model, int]] = {
    "Concat": (convs("c = Conv(x, w) m = Concat<axis=1>(h, c, h)", {"w": (4, 3, 1, 1)}, read=20), 12),
    "Concat with a constant": (convs("m = Concat<axis=1>(h, k)", {"k": (1, 3, 8, 8)}, read=11), 8 + 3),
    "Split": (convs("a, b = Split<axis=1>(h, n) m = Concat<axis=1>(b, a)", {"n": [3, 5]}), 8),
    "Split whose pieces are added": (convs("a, b = Split<axis=1, num_outputs=2>(h) m = Add(a, b)", read=4), 4),
    "Split in opset 11": (convs("a, b = Split<axis=1, split=[2,6]>(h) m = Concat<axis=1>(b, a)", opset=11), 8),
    "Split without sizes in opset 11": (convs("a, b = Split<axis=1>(h) m = Concat<axis=1>(b, a)", opset=11), 8),
    "Slice": (convs("m = Slice(h, s, e, a)", {"s": [2], "e": [-1], "a": [1]}, read=5), 8),
    "Slice backwards": (convs("m = Slice(h, s, e, a, d)", {"s": [-1], "e": [-99], "a": [1], "d": [-1]}), 8),
    "Slice with a stride": (convs("m = Slice(h, s, e, a, d)", {"s": [0], "e": [8], "a": [1], "d": [2]}, read=4), 0),
    "Slice of places": (convs("m = Slice(h, s, e, a)", {"s": [1, 1], "e": [5, 5], "a": [2, 3]}), 8),
    "Slice in opset 9": (convs("m = Slice<starts=[2], ends=[99], axes=[1]>(h)", opset=9, read=6), 8),
    "Gather": (convs("m = Gather<axis=1>(h, i)", {"i": [7, 1, 1, -2]}, read=4), 8),
    "Gather of one": (
        convs("g = Gather<axis=1>(h, i) m = Unsqueeze(g, one)", {"i": np.asarray(3), "one": [1]}, read=1),
        0,
    ),
    "Gather from an embedding": (
        model(
            "h = Gather(t, x) y = MatMul(h, w)",
            {"t": (10, 6), "w": (6, 4)},
            inputs="int64[2,5] x",
            outputs="float[?,?,?] y",
        ),
        6,
    ),
    "Gather of constant positions": (
        matmuls("p = Gather(t, i) m = Add(h, p)", {"t": (9, 8), "i": [0, 1, 2, 3, 4]}),
        8 + 4,
    ),
    "Pad": (convs("m = Pad(h, n)", {"n": [0, 2, 1, 1, 0, 3, 1, 1]}, read=13), 8 + 2 + 3),
    "Pad in a residual stream": (
        convs("c = Conv(h, w) p = Pad(h, n) m = Add(c, p)", {"w": (12, 8, 1, 1), "n": [0, 2, 0, 0, 0, 2, 0, 0]}, read=12),
        12,
    ),
    "Pad by reflection": (convs('m = Pad<mode="reflect">(h, n)', {"n": [0, 1, 0, 0, 0, 1, 0, 0]}, read=10), 0),
    "Pad in opset 10": (convs("m = Pad<pads=[0,1,0,0,0,0,0,0]>(h)", opset=10, read=9), 8),
    "Tile": (convs("m = Tile(h, n)", {"n": [1, 2, 1, 1]}, read=16), 8),
    "Tile of one": (
        convs("p = ReduceMean<keepdims=1>(h, a) t = Tile(p, n) m = Add(h, t)", {"a": [1], "n": [1, 8, 1, 1]}),
        0,
    ),
    "Tile of one constant": (convs("t = Tile(k, n) m = Add(h, t)", {"k": (1, 1, 8, 8), "n": [1, 8, 1, 1]}), 8),
    "Expand": (convs("e = Expand(k, n) m = Add(h, e)", {"k": (1, 1, 1, 1), "n": [1, 8, 8, 8]}), 8),
    "Expand that keeps channels": (convs("m = Expand(h, n)", {"n": [2, 1, 8, 1]}), 8),
}

SHAPE: dict[str, tuple[ir.Model, int]] = {
    "sizes that a Reshape is given": (
        convs(
            "s = Shape(h) b = Gather(s, zero) c = Gather(s, one) d = Gather(s, two) half = Div(c, two_)"
            " b1 = Unsqueeze(b, ax) h1 = Unsqueeze(half, ax) c1 = Unsqueeze(c, ax) d1 = Unsqueeze(d, ax)"
            " t = Concat<axis=0>(b1, two1, h1, d1, d1) u = Concat<axis=0>(b1, c1, d1, d1)"
            " p = Reshape(h, t) q = Transpose<perm=[0,2,1,3,4]>(p) m = Reshape(q, u)",
            {
                "zero": np.asarray(0),
                "one": np.asarray(1),
                "two": np.asarray(2),
                "two_": np.asarray(2),
                "ax": [0],
                "two1": [2],
            },
        ),
        2 + 4,
    ),
    "a scale computed from a size": (
        matmuls(
            "s = Shape(h) d = Slice(s, last, end) f = Cast<to=1>(d) r = Sqrt(f) m = Div(h, r)",
            {"last": [-1], "end": [99]},
        ),
        8,
    ),
    "the number of elements": (
        matmuls("s = Size(h) f = Cast<to=1>(s) m = Div(h, f)"),
        0,
    ),
    "a state of zeros": (
        recurrent("LSTM<hidden_size=7>", 4, ", , , c, c", before="c = ConstantOfShape(sizes)", sizes=[1, 2, 7]),
        15,
    ),
    "a state of zeros for a batch of any size": (
        recurrent(
            "GRU<hidden_size=7>",
            3,
            ", , , c",
            before="u = Shape(x) n = Slice(u, one, two) q = Concat<axis=0>(one, n, seven) c = ConstantOfShape(q)",
            one=[1],
            two=[2],
            seven=[7],
        ),
        15,
    ),
    "batch and heads flattened": (
        model(
            "h = MatMul(x, w) k = MatMul(x, w_k) s = Shape(h) n = Gather(s, zero) c = Mul(n, four)"
            " n1 = Unsqueeze(n, ax)"
            " c1 = Unsqueeze(c, ax) t = Concat<axis=0>(c1, two, five) u = Concat<axis=0>(n1, eight, five)"
            " a = Transpose<perm=[0,2,1]>(h) b = Transpose<perm=[0,2,1]>(k) d = Reshape(a, t) e = Reshape(b, t)"
            " f = Transpose<perm=[0,2,1]>(d) g = MatMul(f, e) p = Softmax(g) i = MatMul(d, p) j = Reshape(i, u)"
            " l = Transpose<perm=[0,2,1]>(j) y = MatMul(l, v)",
            {
                "w": (6, 8),
                "w_k": (6, 8),
                "v": (8, 3),
                "zero": np.asarray(0),
                "four": np.asarray(4),
                "ax": [0],
                "two": [2],
                "five": [5],
                "eight": [8],
            },
            inputs="float[n,5,6] x",
            outputs="float[?,?,?] y",
        ),
        4 + 2,
    ),
}
