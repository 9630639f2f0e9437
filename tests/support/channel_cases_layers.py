"""Normalisations, recurrent layers and attention: name -> (model, number of units expected)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.support.channel_graphs import MICROSOFT, convs, matmuls, model, recurrent

NORMALISE: dict[str, tuple[ir.Model, int]] = {
    "LayerNormalization": (matmuls("m = LayerNormalization(h, s, b)", {"s": (8,), "b": (8,)}), 0),
    "LayerNormalization of places": (
        matmuls("t = Transpose<perm=[0,2,1]>(h) u = LayerNormalization(t, s) m = Transpose<perm=[0,2,1]>(u)", {"s": (5,)}),
        8,
    ),
    "SimplifiedLayerNormalization": (matmuls("m = SimplifiedLayerNormalization(h, s)", {"s": (8,)}), 0),
    "RMSNormalization": (matmuls("m = RMSNormalization(h, s)", {"s": (8,)}, opset=23), 0),
    "InstanceNormalization": (convs("m = InstanceNormalization(h, s, b)", {"s": (8,), "b": (8,)}), 8),
    "GroupNormalization": (
        convs("m = GroupNormalization<num_groups=4>(h, s, b)", {"s": (8,), "b": (8,)}, opset=21),
        4,
    ),
    "LRN": (convs("m = LRN<size=3>(h)"), 0),
    "SkipLayerNormalization": (
        matmuls("m = com.microsoft.SkipLayerNormalization(h, h, s, b)", {"s": (8,), "b": (8,)}, imports=MICROSOFT),
        0,
    ),
    "SkipSimplifiedLayerNormalization": (
        matmuls("m = com.microsoft.SkipSimplifiedLayerNormalization(h, h, s)", {"s": (8,)}, imports=MICROSOFT),
        0,
    ),
}
RECURRENT: dict[str, tuple[ir.Model, int]] = {
    "LSTM": (recurrent("LSTM<hidden_size=7>", 4, ", b", b=(1, 56)), 15),
    "LSTM with states and peepholes": (
        recurrent("LSTM<hidden_size=7>", 4, ", b, , h0, c0, p", b=(1, 56), h0=(1, 2, 7), c0=(1, 2, 7), p=(1, 21)),
        15,
    ),
    "LSTM in both directions": (
        recurrent('LSTM<hidden_size=7, direction="bidirectional">', 4, ", b", directions=2, b=(2, 56)),
        15,
    ),
    "LSTM with sequence lengths, in both directions": (
        recurrent('LSTM<hidden_size=7, direction="bidirectional">', 4, ", , n", directions=2, n=np.array([5, 3], np.int32)),
        15,
    ),
    "the last states of an LSTM": (
        model(
            "a, s, c = LSTM<hidden_size=7>(x, w, r) b = Concat<axis=0>(s, c) t = Transpose<perm=[1,0,2]>(b)"
            " f = Reshape(t, z) y = MatMul(f, w_out)",
            {"w": (1, 28, 6), "r": (1, 28, 7), "w_out": (14, 4), "z": [2, -1]},
            inputs="float[5,2,6] x",
        ),
        7,
    ),
    "GRU": (recurrent("GRU<hidden_size=7, linear_before_reset=1>", 3, ", b", b=(1, 42)), 15),
    "GRU in reverse, with a state and lengths": (
        recurrent(
            'GRU<hidden_size=7, direction="reverse">', 3, ", b, n, h0", b=(1, 42), h0=(1, 2, 7), n=np.array([5, 3], np.int32)
        ),
        15,
    ),
    "RNN": (recurrent("RNN<hidden_size=7>", 1), 15),
    "RNN in both directions, with states": (
        recurrent('RNN<hidden_size=7, direction="bidirectional">', 1, ", , , h0", directions=2, h0=(2, 2, 7)),
        15,
    ),
}

ATTENTION: dict[str, tuple[ir.Model, int]] = {
    "MultiHeadAttention": (
        matmuls(
            "k = MatMul(x, w_k) v = MatMul(x, w_v) m = com.microsoft.MultiHeadAttention<num_heads=2, scale=0.5>(h, k, v)",
            {"w_k": (6, 8), "w_v": (6, 8)},
            imports=MICROSOFT,
        ),
        2 + 4 + 4,
    ),
    "MultiHeadAttention without a scale": (
        matmuls(
            "k = MatMul(x, w_k) v = MatMul(x, w_v) m = com.microsoft.MultiHeadAttention<num_heads=2>(h, k, v)",
            {"w_k": (6, 8), "w_v": (6, 8)},
            imports=MICROSOFT,
        ),
        2 + 4,
    ),
    "packed Attention": (
        matmuls("m = com.microsoft.Attention<num_heads=2>(h, w, b)", {"w": (8, 24), "b": (24,)}, imports=MICROSOFT),
        8 + 2,
    ),
    "Attention": (
        matmuls(
            "k = MatMul(x, w_k) v = MatMul(x, w_v) a = Reshape(h, s) b = Reshape(k, u) c = Reshape(v, u)"
            " d = Transpose<perm=[0,2,1,3]>(a) e = Transpose<perm=[0,2,1,3]>(b) f = Transpose<perm=[0,2,1,3]>(c)"
            " g = Attention<scale=0.5>(d, e, f) r = Transpose<perm=[0,2,1,3]>(g) m = Reshape(r, t)",
            {"w_k": (6, 4), "w_v": (6, 4), "s": [0, 0, 4, 2], "u": [0, 0, 2, 2], "t": [0, 0, 8]},
            opset=23,
        ),
        2 + 2 + 2 + 2,
    ),
}
