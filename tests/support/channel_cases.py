"""One small model for every op that has a rule: name -> (model, number of units expected)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.support.channel_cases_layers import ATTENTION, NORMALISE, RECURRENT
from tests.support.channel_cases_moves import INDEX, SHAPE
from tests.support.channel_graphs import MICROSOFT, convs, matmuls, model, scalar

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
        matmuls("t = Transpose<perm=[0,2,1]>(h) u = MatMul(w, t) m = Transpose<perm=[0,2,1]>(u)", {"w": (7, 8)}, read=7),
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
REASSOCIATE: dict[str, tuple[ir.Model, int]] = {
    "Reshape that splits": (
        convs("a = Reshape(h, s) b = ReduceMax<keepdims=0>(a, r) m = Relu(b)", {"s": [1, 4, 2, 8, 8], "r": [2]}, read=4),
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
        convs("p = GlobalAveragePool(h) q = Squeeze<axes=[2,3]>(p) u = Unsqueeze<axes=[2,3]>(q) m = Mul(h, u)", opset=11),
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
