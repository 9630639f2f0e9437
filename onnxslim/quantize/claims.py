"""What the placement of Q/DQ rests on beyond the tables' rows: conditions, each drawn both ways where it has two.

A claim is a small model and the ops that must, or must not, be left when the runtime has optimised it. Adding one is one
function here; ``contract.py`` runs them, for the tests and for ``onnxslim doctor``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Container
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.quantize.sketch import Sketch


@dataclass(frozen=True)
class Claim:
    """One line of what is believed of the runtime.

    Attributes:
        says: The claim in words.
        build: Draws the model.
        leaves: Op types that must be left (``A|B``: one of them).
        not_leaves: Op types that must be gone.
    """

    says: str
    build: Callable[[], ir.Model]
    leaves: tuple[str, ...] = ()
    not_leaves: tuple[str, ...] = ()

    def holds(self, ops: Container[str]) -> bool:
        """Whether the optimised graph's ``ops`` are as claimed."""
        left = all(any(op in ops for op in either.split("|")) for either in self.leaves)
        return left and not any(op in ops for op in self.not_leaves)


#: Names of processors, as ``platform.machine()`` gives them.
X86 = ("x86_64", "AMD64", "i386", "i686")
CLAIMS: list[Claim] = []


def _claim(
    says: str,
    leaves: str = "",
    not_leaves: str = "",
    shape: tuple[int | str, ...] = (1, 16, 8, 8),
    opset: int = 17,
    machine: tuple[str, ...] = (),
) -> Callable[[Callable[[Sketch], ir.Value | tuple[ir.Value, ...]]], Callable[..., object]]:
    def add(draw: Callable[[Sketch], ir.Value | tuple[ir.Value, ...]]) -> Callable[..., object]:
        def build() -> ir.Model:
            sketch = Sketch(*shape, opset=opset)
            outputs = draw(sketch)
            return sketch.model(*(outputs if isinstance(outputs, tuple) else (outputs,)))

        if not machine or platform.machine() in machine:
            CLAIMS.append(Claim(says, build, tuple(leaves.split()), tuple(not_leaves.split())))
        return draw

    return add


_ROW, _ROW3 = (4, 16), (1, 4, 16)


def _residual(s: Sketch, dtype: type, zero: int) -> ir.Value:
    a = s.quantised(s.conv(s.qdq(s.x, zero=zero, dtype=dtype)), zero=zero, dtype=dtype)
    first, second = s.read(a, zero=zero, dtype=dtype), s.read(a, zero=zero, dtype=dtype)
    b = s.qdq(s.conv(first), zero=zero, dtype=dtype)
    return s.qdq(s("Add", b, second), zero=zero, dtype=dtype)


@_claim("uint8 activations that two ops read fuse", "QLinearConv QLinearAdd", "Conv Add")
def _uint8(s: Sketch) -> ir.Value:
    return _residual(s, np.uint8, 128)


@_claim("int8 activations that two ops read keep both float on x86", "Conv Add", "QLinearAdd", machine=X86)
def _int8(s: Sketch) -> ir.Value:
    return _residual(s, np.int8, 0)


@_claim("an excluded Conv behind a scalar scale is quantised all the same", "QLinearConv", "Conv")
def _excluded(s: Sketch) -> ir.Value:
    a = s.quantised(s.conv(s.qdq(s.x)))
    return s.qdq(s.conv(s.qdq(s("Conv", s.read(a), s.random(16, 16, 1, 1)))))


@_claim("an excluded Conv behind a vector of equal scales stays float, its neighbours fuse", "QLinearConv Conv")
def _excluded_vector(s: Sketch) -> ir.Value:
    a = s.quantised(s.conv(s.qdq(s.x)))
    return s.qdq(s.conv(s.qdq(s("Conv", s.read(a, vector=16), s.random(16, 16, 1, 1)))))


@_claim("static MatMul + Add of a vector with a float output is a float Gemm", "Gemm", "MatMulIntegerToFloat", shape=_ROW)
def _naive(s: Sketch) -> ir.Value:
    return s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16))


@_claim("static MatMul + Add with a bias of rank 3 is int8", "MatMulIntegerToFloat", "Gemm", shape=_ROW3)
def _rank3(s: Sketch) -> ir.Value:
    return s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(1, 1, 16))


@_claim("static MatMul + Add with a quantised output is int8", "QLinearMatMul|QGemm", "Gemm MatMul", shape=_ROW)
def _quantised_output(s: Sketch) -> ir.Value:
    return s.qdq(s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16)))


@_claim("a Gemm with an int32 bias and a float output is int8", "QGemm", "Gemm", shape=_ROW)
def _gemm_int32(s: Sketch) -> ir.Value:
    return s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.bias(16, 0.02 * 0.01))


@_claim("a Gemm with a float bias and a float output is float", "Gemm", "QGemm", shape=_ROW)
def _gemm_float(s: Sketch) -> ir.Value:
    return s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.random(16))


@_claim("a Gemm whose alpha is not 1 is float when it has a bias", "Gemm", "QGemm", shape=_ROW)
def _alpha(s: Sketch) -> ir.Value:
    return s.qdq(s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.bias(16, 0.02 * 0.01), alpha=0.5))


@_claim("MatMul + Add with a free dimension and rank 3 is int8", "MatMulIntegerToFloat", "Gemm", shape=(1, "n", 16))
def _free(s: Sketch) -> ir.Value:
    return s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16))


@_claim("MatMul of two activations with a quantised output is int8", "QLinearMatMul", "MatMul", shape=(16, 16))
def _two_activations(s: Sketch) -> ir.Value:
    a = s.qdq(s.x)
    return s.qdq(s("MatMul", a, s("Transpose", a, perm=[1, 0])))


@_claim("a Relu folds into a range that starts at zero", "QLinearConv", "Relu")
def _relu(s: Sketch) -> ir.Value:
    return s.qdq(s("Relu", s.conv(s.qdq(s.x))), zero=0)


@_claim("a Relu before a range around zero keeps its Conv float", "FusedConv|Relu", "QLinearConv")
def _relu_symmetric(s: Sketch) -> ir.Value:
    return s.qdq(s("Relu", s.conv(s.qdq(s.x))), zero=128)


def _clip(s: Sketch, top: float) -> ir.Value:
    return s.qdq(s("Clip", s.conv(s.qdq(s.x)), s.constant(0.0), s.constant(6.0)), scale=top / 255, zero=0)


@_claim("a Clip(0, 6) folds into a range that ends at 6", "QLinearConv", "Clip")
def _clip_inside(s: Sketch) -> ir.Value:
    return _clip(s, 5.9999)


@_claim("a Clip(0, 6) before a range that ends at 6.5 keeps its Conv float", "FusedConv|Clip", "QLinearConv")
def _clip_outside(s: Sketch) -> ir.Value:
    return _clip(s, 6.5)


@_claim("a Conv with a float bias is int8", "QLinearConv", "Conv")
def _float_bias(s: Sketch) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.random(16)))


@_claim("a Conv with an int32 bias of the right scale is int8", "QLinearConv", "Conv")
def _int32_bias(s: Sketch) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01)))


@_claim("a Conv with an int32 bias whose scale is 5 % off is float", "Conv", "QLinearConv")
def _bias_off(s: Sketch) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01 * 1.05)))


@_claim("an int32 bias with a zero point keeps its Conv float", "Conv", "QLinearConv")
def _bias_zero(s: Sketch) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01, 3)))


@_claim("a Conv with weights per input channel fuses, and its axis is ignored: never write that", "QLinearConv", "Conv")
def _axis(s: Sketch) -> ir.Value:
    return s.qdq(s("Conv", s.qdq(s.x), s.weights(16, 16, 1, 1, axis=1)))


@_claim("a MatMul with weights per input is float", "MatMul", "QLinearMatMul MatMulIntegerToFloat", shape=_ROW)
def _matmul_axis(s: Sketch) -> ir.Value:
    return s.qdq(s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=0)))


@_claim("a Conv whose output the model returns as well is float", "Conv", "QLinearConv")
def _returned(s: Sketch) -> tuple[ir.Value, ...]:
    a = s.conv(s.qdq(s.x))
    return s.qdq(a), a


@_claim("a Conv whose output is not quantised is float", "Conv", "QLinearConv")
def _unquantised_output(s: Sketch) -> ir.Value:
    return s.conv(s.qdq(s.x))


@_claim("a Conv whose output something reads in float as well is float", "Conv", "QLinearConv")
def _shared(s: Sketch) -> tuple[ir.Value, ...]:
    a = s.conv(s.qdq(s.x))
    return s.qdq(a), s("Tanh", a)


@_claim("an Add of a float constant is float", "Add", "QLinearAdd")
def _float_constant(s: Sketch) -> ir.Value:
    return s.qdq(s("Add", s.qdq(s.x), s.random(1, 16, 1, 1)))


@_claim("an Add of a dequantised constant is int8", "QLinearAdd", "Add")
def _int8_constant(s: Sketch) -> ir.Value:
    codes = s.constant(np.arange(16).reshape(1, 16, 1, 1), np.uint8)
    return s.qdq(s("Add", s.qdq(s.x), s.read(codes)))


@_claim("a Concat with one float input is float", "Concat", "QLinearConcat")
def _concat(s: Sketch) -> ir.Value:
    return s.qdq(s("Concat", s.qdq(s.x), s.x, axis=1))


@_claim("a Concat of different scales is int8", "QLinearConcat", "Concat")
def _concat_scales(s: Sketch) -> ir.Value:
    return s.qdq(s("Concat", s.qdq(s.x), s.qdq(s.x, 0.03, 100), axis=1), 0.04)


@_claim("SiLU with Q/DQ behind the Sigmoid and behind the Mul fuses whole", "QLinearSigmoid QLinearMul", "Sigmoid Mul")
def _silu(s: Sketch) -> ir.Value:
    a = s.quantised(s.conv(s.qdq(s.x)))
    return s.qdq(s("Mul", s.read(a), s.qdq(s("Sigmoid", s.read(a)), 1 / 256, 0)))


@_claim("SiLU without Q/DQ behind the Sigmoid is float", "Sigmoid|QuickGelu")
def _silu_open(s: Sketch) -> ir.Value:
    a = s.quantised(s.conv(s.qdq(s.x)))
    return s.qdq(s("Mul", s.read(a), s("Sigmoid", s.read(a))))


@_claim("a Reshape between two different scales runs in float", "DequantizeLinear QuantizeLinear Reshape")
def _reshape_scales(s: Sketch) -> ir.Value:
    a = s.qdq(s.conv(s.qdq(s.x)))
    b = s("Reshape", a, s.constant([1, 16, 4, 16], np.int64))
    return s.qdq(s.conv(s.qdq(b, 0.05)))


@_claim("16-bit activations keep a Conv float", "Conv", "QLinearConv", opset=21)
def _sixteen(s: Sketch) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x, 0.001, 32768, np.uint16)), 0.001, 32768, np.uint16)


def _recurrent(s: Sketch, op: str, gates: int) -> ir.Value:
    w, r = s.random(1, 8 * gates, 16), s.random(1, 8 * gates, 8)
    return s.qdq(s(op, s.qdq(s.x), w, r, hidden_size=8))


@_claim("an LSTM between Q/DQ is float", "LSTM", shape=(4, 1, 16))
def _lstm(s: Sketch) -> ir.Value:
    return _recurrent(s, "LSTM", 4)


@_claim("a GRU between Q/DQ is float", "GRU", shape=(4, 1, 16))
def _gru(s: Sketch) -> ir.Value:
    return _recurrent(s, "GRU", 3)


def _residual_norm(s: Sketch, op: str) -> tuple[ir.Value, ...]:
    return (s("LayerNormalization", s(op, s.x, s("Tanh", s.x)), s.random(16), s.random(16), axis=-1),)


@_claim("an Add in front of a LayerNormalization is fused with it", "SkipLayerNormalization", "Add", shape=_ROW3)
def _skip(s: Sketch) -> tuple[ir.Value, ...]:
    return _residual_norm(s, "Add")


@_claim("a Sum in front of a LayerNormalization is not", "Sum LayerNormalization", "SkipLayerNormalization", shape=_ROW3)
def _no_skip(s: Sketch) -> tuple[ir.Value, ...]:
    return _residual_norm(s, "Sum")


def _dynamic(s: Sketch, readers: int) -> tuple[ir.Value, ...]:
    node = s("DynamicQuantizeLinear", s.x, outputs=3).producer()
    assert node is not None
    codes, scale, zero = node.outputs
    results = []
    for _ in range(readers):
        weights = s.constant(np.random.default_rng(1).integers(-127, 128, (16, 16)), np.int8)
        product = s("Cast", s("MatMulInteger", codes, weights, zero), to=ir.DataType.FLOAT)
        scales = s("Mul", scale, s.constant(np.full(16, 0.01)))
        results.append(s("Add", s("Mul", product, scales), s.random(16)))
    return tuple(results)


@_claim(
    "a dynamic linear layer fuses whole", "DynamicQuantizeMatMul|MatMulIntegerToFloat", "MatMulInteger Cast Mul", shape=_ROW3
)
def _dynamic_one(s: Sketch) -> tuple[ir.Value, ...]:
    return _dynamic(s, 1)


@_claim(
    "dynamic linear layers that share their input fuse, each with its bias",
    "MatMulIntegerToFloat|DynamicQuantizeMatMul", "MatMulInteger Cast Mul Add", shape=_ROW3,
)  # fmt: skip
def _dynamic_three(s: Sketch) -> tuple[ir.Value, ...]:
    return _dynamic(s, 3)


@_claim("int8 weights behind a Cast and a Mul are expanded at load", "Conv", "Cast Mul")
def _expanded(s: Sketch) -> ir.Value:
    codes = s.constant(np.arange(256).reshape(16, 16, 1, 1) - 128, np.int8)
    return s("Conv", s.x, s("Mul", s("Cast", codes, to=ir.DataType.FLOAT), s.constant(np.full((16, 1, 1, 1), 0.01))))


@_claim("int8 weights behind a DequantizeLinear are converted at every run", "Conv DequantizeLinear")
def _not_expanded(s: Sketch) -> ir.Value:
    return s("Conv", s.x, s.weights(16, 16, 1, 1))


@_claim("a codebook is expanded at load", "Conv", "Cast Gather Reshape")
def _codebook(s: Sketch) -> ir.Value:
    codes = s.constant(np.arange(128), np.uint8)
    pairs = s("Gather", s.random(256, 2), s("Cast", codes, to=ir.DataType.INT32))
    return s("Conv", s.x, s("Reshape", pairs, s.constant([16, 16, 1, 1], np.int64)))
