"""One small model for every op that has a rule: name -> (model, number of units expected)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.channels.build import Weight, convs, model

MICROSOFT = ', "com.microsoft" : 1'


def matmuls(middle: str, weights: dict[str, Weight] | None = None, *, read: int = 8, **options: object) -> ir.Model:
    """A MatMul that makes 8 features ``h`` (2, 5, 8), then ``middle`` from h to ``m``, then a MatMul that reads m."""
    own: dict[str, Weight] = {"w_in": (6, 8), "w_out": (read, 4)}
    text = f"h = MatMul(x, w_in) {middle} y = MatMul(m, w_out)"
    options = {"inputs": "float[2,5,6] x", "outputs": "float[?,?,?] y", **options}
    return model(text, {**own, **(weights or {})}, **options)  # type: ignore[arg-type]


def scalar(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


UNARY = """
    Abs Acos Asin Asinh Atan Atanh Ceil Celu Cos Cosh Dropout Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu
    Log Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu
"""
BINARY = "Add Div Max Mean Min Mul Pow Sub Sum"
COMPARE = "Equal Greater GreaterOrEqual Less LessOrEqual"
LOGIC = "And Or Xor"
BITS = "BitwiseAnd BitwiseOr BitwiseXor"
POOLS = ("AveragePool<kernel_shape=[2,2]>", "GlobalAveragePool", "GlobalMaxPool", "MaxPool<kernel_shape=[2,2]>")
POOLS_P = ("LpPool<kernel_shape=[2,2], p=2>", "GlobalLpPool<p=2>")
REDUCE = "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"

ELEMENTWISE: dict[str, tuple[ir.Model, int]] = {
    **{op: (convs(f"t = Sigmoid(h) m = {op}(t)"), 8) for op in UNARY.split()},
    **{op: (convs(f"t = Sigmoid(h) m = {op}(t, k)", {"k": (8, 1, 1)}), 8) for op in BINARY.split() if op != "Pow"},
    "Pow": (convs("t = Sigmoid(h) m = Pow(t, t)"), 8),
    **{op: (convs(f"b = {op}(h, k) m = Cast<to=1>(b)", {"k": (1, 8, 1, 1)}), 8) for op in COMPARE.split()},
    **{op: (convs(f"a = Cast<to=9>(h) b = {op}(a, a) m = Cast<to=1>(b)"), 8) for op in LOGIC.split()},
    **{op: (convs(f"a = Cast<to=6>(h) b = {op}(a, a) m = Cast<to=1>(b)"), 8) for op in BITS.split()},
    "Acosh": (convs("t = Abs(h) v = Exp(t) m = Acosh(v)"), 8),
    "BitShift": (convs('a = Cast<to=13>(h) b = BitShift<direction="LEFT">(a, a) m = Cast<to=1>(b)'), 8),
    "BitwiseNot": (convs("a = Cast<to=6>(h) b = BitwiseNot(a) m = Cast<to=1>(b)"), 8),
    "IsInf, IsNaN, Not": (convs("a = IsInf(h) b = IsNaN(h) c = Not(a) d = And(b, c) m = Cast<to=1>(d)"), 8),
    "Mod": (convs("m = Mod<fmod=1>(h, k)", {"k": (8, 1, 1)}), 8),
    "PRelu": (convs("m = PRelu(h, k)", {"k": (8, 1, 1)}), 8),
    "Clip": (convs("m = Clip(h, low, high)", {"low": scalar(-0.5), "high": scalar(0.5)}), 8),
    "Where": (convs("z = Sub(h, h) c = Greater(h, z) m = Where(c, h, k)", {"k": (8, 1, 1)}), 8),
    "BatchNormalization": (
        convs("m = BatchNormalization(h, s, b, e, v)", {"s": (8,), "b": (8,), "e": (8,), "v": np.ones(8, np.float32)}),
        8,
    ),
    "Gelu": (convs("m = Gelu(h)", opset=20), 8),
    "Swish": (convs("m = Swish(h)", opset=24), 8),
    "com.microsoft": (
        matmuls(
            "a = com.microsoft.Gelu(h) b = com.microsoft.FastGelu(a) c = com.microsoft.QuickGelu(b)"
            " m = com.microsoft.BiasGelu(c, k)",
            {"k": (8,)},
            imports=MICROSOFT,
        ),
        8,
    ),
    "a gate of one value for each channel": (
        convs(
            "p = GlobalAveragePool(h) q = Conv(p, w1) r = Relu(q) s = Conv(r, w2) g = Sigmoid(s) m = Mul(h, g)",
            {"w1": (4, 8, 1, 1), "w2": (8, 4, 1, 1)},
        ),
        8 + 4,
    ),
    "a residual stream": (convs("c = Conv(h, w) m = Add(h, c)", {"w": (8, 8, 1, 1)}), 8),
}

CONTRACT: dict[str, tuple[ir.Model, int]] = {
    "grouped Conv": (convs("m = Conv<group=2>(h, w, b)", {"w": (8, 4, 3, 3), "b": (8,)}), 2 + 4 + 4),
    "grouped Conv with a dense one between": (
        convs("a = Conv<group=4>(h, w) m = Conv<group=2>(a, v)", {"w": (16, 2, 1, 1), "v": (8, 8, 1, 1)}),
        2 + 2 + 2 + 4 + 4,
    ),
    "depthwise Conv": (convs("m = Conv<group=8>(h, w, b)", {"w": (8, 1, 3, 3), "b": (8,)}), 8),
    "depthwise Conv with a multiplier": (convs("m = Conv<group=8>(h, w)", {"w": (16, 1, 3, 3)}, read=16), 8 + 2),
    "ConvTranspose": (convs("m = ConvTranspose(h, w, b)", {"w": (8, 6, 2, 2), "b": (6,)}, read=6), 8 + 6),
    "grouped ConvTranspose": (
        convs("m = ConvTranspose<group=2>(h, w, b)", {"w": (8, 3, 2, 2), "b": (6,)}, read=6),
        2 + 4 + 3,
    ),
    "FusedConv": (
        convs(
            'm = com.microsoft.FusedConv<activation="Relu">(h, w, b)',
            {"w": (6, 8, 1, 1), "b": (6,)},
            read=6,
            imports=MICROSOFT,
        ),
        8 + 6,
    ),
    "Gemm": (
        model(
            "a = Gemm<transB=1>(x, w, b) c = Gemm(a, v, d) e = Transpose(c) f = Gemm<transA=1>(e, u) y = Gemm(f, t, s)",
            {"w": (7, 6), "b": (7,), "v": (7, 5), "d": (1, 5), "u": (5, 4), "t": (4, 3), "s": (1,)},
            inputs="float[2,6] x",
        ),
        7 + 5 + 4,
    ),
    "MatMul": (matmuls("m = MatMul(h, w)", {"w": (8, 8)}), 16),
    "MatMul with the weight on the left": (
        matmuls(
            "t = Transpose<perm=[0,2,1]>(h) u = MatMul(w, t) m = Transpose<perm=[0,2,1]>(u)", {"w": (7, 8)}, read=7
        ),
        8 + 7,
    ),
    "MatMul with a stack of weights": (
        model(
            "a = Unsqueeze(x, one) h = MatMul(a, w) r = Relu(h) y = MatMul(r, v)",
            {"one": [1], "w": (3, 6, 5), "v": (3, 5, 4)},
            inputs="float[2,5,6] x",
            outputs="float[?,?,?,?] y",
        ),
        5,
    ),
    "MatMul of two activations": (
        matmuls(
            "k = MatMul(x, w_k) t = Transpose<perm=[0,2,1]>(k) s = MatMul(h, t) p = Softmax(s)"
            " v = MatMul(x, w_v) m = MatMul(p, v)",
            {"w_k": (6, 8), "w_v": (6, 8)},
        ),
        8 + 8,
    ),
    "Einsum": (
        matmuls('a = Einsum<equation="bsc,cd->bsd">(h, w) m = Einsum<equation="bsd,bsd->bsd">(a, a)', {"w": (8, 8)}),
        16,
    ),
    "Einsum that sums without a weight": (
        matmuls('m = Einsum<equation="bsc->bs">(h)', {"w_out": (5, 4)}, outputs="float[?,?] y"),
        0,
    ),
}

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
        convs(
            "c = Conv(h, w) p = Pad(h, n) m = Add(c, p)", {"w": (12, 8, 1, 1), "n": [0, 2, 0, 0, 0, 2, 0, 0]}, read=12
        ),
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

REASSOCIATE: dict[str, tuple[ir.Model, int]] = {
    "Reshape that splits": (
        convs(
            "a = Reshape(h, s) b = ReduceMax<keepdims=0>(a, r) m = Relu(b)", {"s": [1, 4, 2, 8, 8], "r": [2]}, read=4
        ),
        4,
    ),
    "Reshape to features": (
        model(
            "h = Conv(x, w) f = Reshape(h, s) y = MatMul(f, v)",
            {"w": (8, 3, 1, 1), "s": [0, -1], "v": (512, 4)},
        ),
        8,
    ),
    "Flatten": (model("h = Conv(x, w) f = Flatten(h) y = Gemm(f, v)", {"w": (8, 3, 1, 1), "v": (512, 4)}), 8),
    "Squeeze, Unsqueeze, Transpose": (
        convs(
            "p = GlobalAveragePool(h) q = Squeeze(p, s) u = Unsqueeze(q, s) t = Transpose<perm=[0,2,1,3]>(u)"
            " v = Transpose<perm=[0,2,1,3]>(t) m = Mul(h, v)",
            {"s": [2, 3]},
        ),
        8,
    ),
    "Squeeze in opset 11": (
        convs(
            "p = GlobalAveragePool(h) q = Squeeze<axes=[2,3]>(p) u = Unsqueeze<axes=[2,3]>(q) m = Mul(h, u)", opset=11
        ),
        8,
    ),
    "DepthToSpace": (convs("m = DepthToSpace<blocksize=2>(h)", read=2), 2),
    "DepthToSpace by columns": (convs('m = DepthToSpace<blocksize=2, mode="CRD">(h)', read=2), 2),
    "SpaceToDepth": (convs("m = SpaceToDepth<blocksize=2>(h)", read=32), 8),
    "channel shuffle": (
        convs(
            "a = Reshape(h, s) b = Transpose<perm=[0,2,1,3,4]>(a) m = Reshape(b, t)",
            {"s": [1, 2, 4, 8, 8], "t": [1, 8, 8, 8]},
        ),
        2 + 4,
    ),
    "channel shuffles in a residual stream": (
        convs(
            "a = Reshape(h, s) b = Transpose<perm=[0,2,1,3,4]>(a) c = Reshape(b, t) m = Add(h, c)",
            {"s": [1, 2, 4, 8, 8], "t": [1, 8, 8, 8]},
        ),
        2,  # all but the last, all but the first: the two that a shuffle leaves in place
    ),
    "attention": (
        matmuls(
            "k = MatMul(x, w_k) v = MatMul(x, w_v) a = Reshape(h, s) b = Reshape(k, s) c = Reshape(v, s)"
            " d = Transpose<perm=[0,2,1,3]>(a) e = Transpose<perm=[0,2,3,1]>(b) f = Transpose<perm=[0,2,1,3]>(c)"
            " g = MatMul(d, e) p = Softmax(g) q = MatMul(p, f) r = Transpose<perm=[0,2,1,3]>(q) m = Reshape(r, t)",
            {"w_k": (6, 8), "w_v": (6, 8), "s": [0, 0, 2, 4], "t": [0, 0, 8]},
        ),
        2 + 4 + 4,
    ),
    "attention, packed": (
        matmuls(
            "p = MatMul(h, w) a = Reshape(p, s) b = Transpose<perm=[2,0,3,1,4]>(a)"
            " q = Gather(b, zero) k = Gather(b, one) v = Gather(b, two) l = Transpose<perm=[0,1,3,2]>(k)"
            " g = MatMul(q, l) i = Softmax(g) j = MatMul(i, v) r = Transpose<perm=[0,2,1,3]>(j) m = Reshape(r, t)",
            {
                "w": (8, 24),
                "s": [2, 5, 3, 2, 4],
                "t": [2, 5, 8],
                "zero": np.asarray(0),
                "one": np.asarray(1),
                "two": np.asarray(2),
            },
        ),
        8 + 2 + 4,
    ),
    "attention with fewer heads of keys": (
        matmuls(
            "k = MatMul(x, w_k) v = MatMul(x, w_v) a = Reshape(h, s) b = Reshape(k, u) c = Reshape(v, u)"
            " d = Transpose<perm=[0,2,1,3]>(a) e = Transpose<perm=[0,2,3,1]>(b) f = Transpose<perm=[0,2,1,3]>(c)"
            " e1 = Unsqueeze(e, two) e2 = Expand(e1, n) e3 = Reshape(e2, o)"
            " f1 = Unsqueeze(f, two) f2 = Expand(f1, i) f3 = Reshape(f2, j)"
            " g = MatMul(d, e3) p = Softmax(g) q = MatMul(p, f3) r = Transpose<perm=[0,2,1,3]>(q) m = Reshape(r, t)",
            {
                "w_k": (6, 4),
                "w_v": (6, 4),
                "s": [2, 5, 4, 2],
                "u": [2, 5, 2, 2],
                "two": [2],
                "n": [2, 2, 2, 2, 5],
                "o": [2, 4, 2, 5],
                "i": [2, 2, 2, 5, 2],
                "j": [2, 4, 5, 2],
                "t": [2, 5, 8],
            },
        ),
        2 + 2 + 2 + 2,
    ),
}

REDUCE_OPS: dict[str, tuple[ir.Model, int]] = {
    **{op: (convs(f"m = {op}(h)"), 8) for op in POOLS},
    **{op: (convs(f"m = {op}(h)"), 8) for op in POOLS_P},
    **{op: (convs(f"t = Sigmoid(h) m = {op}(t, a)", {"a": [2, 3]}), 8) for op in REDUCE.split()},
    "ReduceLogSum": (convs("t = Sigmoid(h) m = ReduceLogSum(t, a)", {"a": [2, 3]}), 8),
    "ReduceMean of channels": (convs("m = ReduceMean(h, a)", {"a": [1]}, read=1), 0),
    "ReduceMean in opset 13": (convs("m = ReduceMean<axes=[-1,-2]>(h)", opset=13), 8),
    "ReduceMean without keeping axes": (
        model(
            "h = Conv(x, w) p = ReduceMean<keepdims=0>(h, a) y = MatMul(p, v)",
            {"w": (8, 3, 1, 1), "a": [2, 3], "v": (8, 4)},
        ),
        8,
    ),
    "ArgMax, ArgMin": (convs("a = ArgMax<axis=2>(h) b = ArgMin<axis=2>(h) c = Add(a, b) m = Cast<to=1>(c)"), 8),
    "Softmax over places": (convs("m = Softmax<axis=2>(h)"), 8),
    "Softmax over channels": (convs("m = Softmax<axis=1>(h)"), 0),
    "LogSoftmax": (convs("m = LogSoftmax<axis=2>(h)"), 8),
    "Hardmax": (convs("m = Hardmax<axis=3>(h)"), 8),
    "LpNormalization": (convs("m = LpNormalization<axis=2>(h)"), 8),
    "Softmax in opset 11": (convs("m = Softmax<axis=2>(h)", opset=11), 8),
    "CumSum": (convs("m = CumSum(h, a)", {"a": np.asarray(2)}), 8),
    "TopK": (convs("m, i = TopK<axis=3>(h, k)", {"k": [4]}), 8),
    "Resize by scales": (
        convs('m = Resize<mode="nearest">(h, , k)', {"k": np.asarray([1, 1, 2, 2], np.float32)}),
        8,
    ),
    "Resize by sizes": (convs('m = Resize<mode="linear">(h, , , k)', {"k": [1, 8, 16, 16]}), 8),
    "Resize of some axes": (convs('m = Resize<mode="linear", axes=[2,3]>(h, , , k)', {"k": [16, 16]}), 8),
    "Upsample": (convs("m = Upsample(h, k)", {"k": np.asarray([1, 1, 2, 2], np.float32)}, opset=9), 8),
}

NORMALISE: dict[str, tuple[ir.Model, int]] = {
    "LayerNormalization": (matmuls("m = LayerNormalization(h, s, b)", {"s": (8,), "b": (8,)}), 0),
    "LayerNormalization of places": (
        matmuls(
            "t = Transpose<perm=[0,2,1]>(h) u = LayerNormalization(t, s) m = Transpose<perm=[0,2,1]>(u)", {"s": (5,)}
        ),
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


def recurrent(
    kind: str, gates: int, extra: str = "", directions: int = 1, before: str = "", **weights: Weight
) -> ir.Model:
    """Features (5, 2, 6) → MatMul → recurrent net with 7 hidden → MatMul."""
    many = directions * 7
    return model(
        f"h = MatMul(x, w_in) {before} a, s = {kind}(h, w, r{extra}) t = Transpose<perm=[0,2,1,3]>(a) f = Reshape(t, z)"
        " y = MatMul(f, w_out)",
        {
            "w_in": (6, 8),
            "w": (directions, gates * 7, 8),
            "r": (directions, gates * 7, 7),
            "w_out": (many, 4),
            "z": [0, 0, -1],
            **weights,
        },
        inputs="float[5,2,6] x",
        outputs="float[?,?,?] y",
    )


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
    "GRU": (recurrent("GRU<hidden_size=7, linear_before_reset=1>", 3, ", b", b=(1, 42)), 15),
    "RNN": (recurrent("RNN<hidden_size=7>", 1), 15),
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

ATTENTION: dict[str, tuple[ir.Model, int]] = {
    "MultiHeadAttention": (
        matmuls(
            "k = MatMul(x, w_k) v = MatMul(x, w_v)"
            " m = com.microsoft.MultiHeadAttention<num_heads=2, scale=0.5>(h, k, v)",
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

CASES: dict[str, tuple[ir.Model, int]] = {
    **ELEMENTWISE,
    **CONTRACT,
    **INDEX,
    **REASSOCIATE,
    **REDUCE_OPS,
    **NORMALISE,
    **RECURRENT,
    **SHAPE,
    **ATTENTION,
}
