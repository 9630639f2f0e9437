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

from onnxslim.quantization.conformance.toy_models import ToyModel


@dataclass(frozen=True)
class FusionClaim:
    """One line of what is believed of the runtime.

    Attributes:
        description: The claim in words.
        build: Draws the model.
        expected_ops: Op types that must be left (``A|B``: one of them).
        forbidden_ops: Op types that must be gone.
    """

    description: str
    build: Callable[[], ir.Model]
    expected_ops: tuple[str, ...] = ()
    forbidden_ops: tuple[str, ...] = ()

    def holds(self, ops: Container[str]) -> bool:
        """Whether the optimised graph's ``ops`` are as claimed."""
        all_expected = all(any(op in ops for op in alternatives.split("|")) for alternatives in self.expected_ops)
        return all_expected and not any(op in ops for op in self.forbidden_ops)


#: Names of processors, as ``platform.machine()`` gives them.
X86_MACHINES = ("x86_64", "AMD64", "i386", "i686")
FUSION_CLAIMS: list[FusionClaim] = []


def _register_claim(
    description: str,
    expected_ops: str = "",
    forbidden_ops: str = "",
    shape: tuple[int | str, ...] = (1, 16, 8, 8),
    opset: int = 17,
    machines: tuple[str, ...] = (),
) -> Callable[[Callable[[ToyModel], ir.Value | tuple[ir.Value, ...]]], Callable[..., object]]:
    def add(draw: Callable[[ToyModel], ir.Value | tuple[ir.Value, ...]]) -> Callable[..., object]:
        def build() -> ir.Model:
            sketch = ToyModel(*shape, opset=opset)
            outputs = draw(sketch)
            return sketch.build(*(outputs if isinstance(outputs, tuple) else (outputs,)))

        if not machines or platform.machine() in machines:
            FUSION_CLAIMS.append(FusionClaim(description, build, tuple(expected_ops.split()), tuple(forbidden_ops.split())))
        return draw

    return add


_RANK2_SHAPE, _RANK3_SHAPE = (4, 16), (1, 4, 16)


def _build_residual(s: ToyModel, dtype: type, zero: int) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x, zero_point=zero, dtype=dtype)), zero_point=zero, dtype=dtype)
    first, second = s.dequantize(a, zero_point=zero, dtype=dtype), s.dequantize(a, zero_point=zero, dtype=dtype)
    b = s.qdq(s.conv(first), zero_point=zero, dtype=dtype)
    return s.qdq(s("Add", b, second), zero_point=zero, dtype=dtype)


@_register_claim("uint8 activations that two ops read fuse", "QLinearConv QLinearAdd", "Conv Add")
def _uint8(s: ToyModel) -> ir.Value:
    return _build_residual(s, np.uint8, 128)


@_register_claim(
    "int8 activations that two ops read keep both float on x86", "Conv Add", "QLinearAdd", machines=X86_MACHINES
)
def _int8(s: ToyModel) -> ir.Value:
    return _build_residual(s, np.int8, 0)


@_register_claim("an excluded Conv behind a scalar scale is quantised all the same", "QLinearConv", "Conv")
def _excluded(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s.conv(s.qdq(s("Conv", s.dequantize(a), s.random(16, 16, 1, 1)))))


@_register_claim("an excluded Conv behind a vector of equal scales stays float, its neighbours fuse", "QLinearConv Conv")
def _excluded_vector(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s.conv(s.qdq(s("Conv", s.dequantize(a, vector_size=16), s.random(16, 16, 1, 1)))))


@_register_claim(
    "static MatMul + Add of a vector with a float output is a float Gemm", "Gemm", "MatMulIntegerToFloat", shape=_RANK2_SHAPE
)
def _naive(s: ToyModel) -> ir.Value:
    return s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16))


@_register_claim("static MatMul + Add with a bias of rank 3 is int8", "MatMulIntegerToFloat", "Gemm", shape=_RANK3_SHAPE)
def _rank3(s: ToyModel) -> ir.Value:
    return s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(1, 1, 16))


@_register_claim(
    "static MatMul + Add with a quantised output is int8", "QLinearMatMul|QGemm", "Gemm MatMul", shape=_RANK2_SHAPE
)
def _quantized_output(s: ToyModel) -> ir.Value:
    return s.qdq(s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16)))


@_register_claim("a Gemm with an int32 bias and a float output is int8", "QGemm", "Gemm", shape=_RANK2_SHAPE)
def _gemm_int32(s: ToyModel) -> ir.Value:
    return s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.bias(16, 0.02 * 0.01))


@_register_claim("a Gemm with a float bias and a float output is float", "Gemm", "QGemm", shape=_RANK2_SHAPE)
def _gemm_float(s: ToyModel) -> ir.Value:
    return s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.random(16))


@_register_claim("a Gemm whose alpha is not 1 is float when it has a bias", "Gemm", "QGemm", shape=_RANK2_SHAPE)
def _alpha(s: ToyModel) -> ir.Value:
    return s.qdq(s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.bias(16, 0.02 * 0.01), alpha=0.5))


@_register_claim("MatMul + Add with a free dimension and rank 3 is int8", "MatMulIntegerToFloat", "Gemm", shape=(1, "n", 16))
def _free(s: ToyModel) -> ir.Value:
    return s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16))


@_register_claim("MatMul of two activations with a quantised output is int8", "QLinearMatMul", "MatMul", shape=(16, 16))
def _two_activations(s: ToyModel) -> ir.Value:
    a = s.qdq(s.x)
    return s.qdq(s("MatMul", a, s("Transpose", a, perm=[1, 0])))


@_register_claim("a Relu folds into a range that starts at zero", "QLinearConv", "Relu")
def _relu(s: ToyModel) -> ir.Value:
    return s.qdq(s("Relu", s.conv(s.qdq(s.x))), zero_point=0)


@_register_claim("a Relu before a range around zero keeps its Conv float", "FusedConv|Relu", "QLinearConv")
def _relu_symmetric(s: ToyModel) -> ir.Value:
    return s.qdq(s("Relu", s.conv(s.qdq(s.x))), zero_point=128)


def _build_clip(s: ToyModel, top: float) -> ir.Value:
    return s.qdq(s("Clip", s.conv(s.qdq(s.x)), s.constant(0.0), s.constant(6.0)), scale=top / 255, zero_point=0)


@_register_claim("a Clip(0, 6) folds into a range that ends at 6", "QLinearConv", "Clip")
def _clip_inside(s: ToyModel) -> ir.Value:
    return _build_clip(s, 5.9999)


@_register_claim("a Clip(0, 6) before a range that ends at 6.5 keeps its Conv float", "FusedConv|Clip", "QLinearConv")
def _clip_outside(s: ToyModel) -> ir.Value:
    return _build_clip(s, 6.5)


@_register_claim("a Conv with a float bias is int8", "QLinearConv", "Conv")
def _float_bias(s: ToyModel) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.random(16)))


@_register_claim("a Conv with an int32 bias of the right scale is int8", "QLinearConv", "Conv")
def _int32_bias(s: ToyModel) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01)))


@_register_claim("a Conv with an int32 bias whose scale is 5 % off is float", "Conv", "QLinearConv")
def _bias_off(s: ToyModel) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01 * 1.05)))


@_register_claim("an int32 bias with a zero point keeps its Conv float", "Conv", "QLinearConv")
def _bias_zero(s: ToyModel) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01, 3)))


@_register_claim(
    "a Conv with weights per input channel fuses, and its axis is ignored: never write that", "QLinearConv", "Conv"
)
def _axis(s: ToyModel) -> ir.Value:
    return s.qdq(s("Conv", s.qdq(s.x), s.weights(16, 16, 1, 1, axis=1)))


@_register_claim(
    "a MatMul with weights per input is float", "MatMul", "QLinearMatMul MatMulIntegerToFloat", shape=_RANK2_SHAPE
)
def _matmul_axis(s: ToyModel) -> ir.Value:
    return s.qdq(s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=0)))


@_register_claim("a Conv whose output the model returns as well is float", "Conv", "QLinearConv")
def _returned(s: ToyModel) -> tuple[ir.Value, ...]:
    a = s.conv(s.qdq(s.x))
    return s.qdq(a), a


@_register_claim("a Conv whose output is not quantised is float", "Conv", "QLinearConv")
def _unquantized_output(s: ToyModel) -> ir.Value:
    return s.conv(s.qdq(s.x))


@_register_claim("a Conv whose output something reads in float as well is float", "Conv", "QLinearConv")
def _shared(s: ToyModel) -> tuple[ir.Value, ...]:
    a = s.conv(s.qdq(s.x))
    return s.qdq(a), s("Tanh", a)


@_register_claim("an Add of a float constant is float", "Add", "QLinearAdd")
def _float_constant(s: ToyModel) -> ir.Value:
    return s.qdq(s("Add", s.qdq(s.x), s.random(1, 16, 1, 1)))


@_register_claim("an Add of a dequantised constant is int8", "QLinearAdd", "Add")
def _int8_constant(s: ToyModel) -> ir.Value:
    codes = s.constant(np.arange(16).reshape(1, 16, 1, 1), np.uint8)
    return s.qdq(s("Add", s.qdq(s.x), s.dequantize(codes)))


@_register_claim("a Concat with one float input is float", "Concat", "QLinearConcat")
def _concat(s: ToyModel) -> ir.Value:
    return s.qdq(s("Concat", s.qdq(s.x), s.x, axis=1))


@_register_claim("a Concat of different scales is int8", "QLinearConcat", "Concat")
def _concat_scales(s: ToyModel) -> ir.Value:
    return s.qdq(s("Concat", s.qdq(s.x), s.qdq(s.x, 0.03, 100), axis=1), 0.04)


@_register_claim(
    "SiLU with Q/DQ behind the Sigmoid and behind the Mul fuses whole", "QLinearSigmoid QLinearMul", "Sigmoid Mul"
)
def _silu(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s("Mul", s.dequantize(a), s.qdq(s("Sigmoid", s.dequantize(a)), 1 / 256, 0)))


@_register_claim("SiLU without Q/DQ behind the Sigmoid is float", "Sigmoid|QuickGelu")
def _silu_open(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s("Mul", s.dequantize(a), s("Sigmoid", s.dequantize(a))))


@_register_claim("a Reshape between two different scales runs in float", "DequantizeLinear QuantizeLinear Reshape")
def _reshape_scales(s: ToyModel) -> ir.Value:
    a = s.qdq(s.conv(s.qdq(s.x)))
    b = s("Reshape", a, s.constant([1, 16, 4, 16], np.int64))
    return s.qdq(s.conv(s.qdq(b, 0.05)))


@_register_claim("16-bit activations keep a Conv float", "Conv", "QLinearConv", opset=21)
def _sixteen(s: ToyModel) -> ir.Value:
    return s.qdq(s.conv(s.qdq(s.x, 0.001, 32768, np.uint16)), 0.001, 32768, np.uint16)


def _build_recurrent(s: ToyModel, op: str, gates: int) -> ir.Value:
    w, r = s.random(1, 8 * gates, 16), s.random(1, 8 * gates, 8)
    return s.qdq(s(op, s.qdq(s.x), w, r, hidden_size=8))


@_register_claim("an LSTM between Q/DQ is float", "LSTM", shape=(4, 1, 16))
def _lstm(s: ToyModel) -> ir.Value:
    return _build_recurrent(s, "LSTM", 4)


@_register_claim("a GRU between Q/DQ is float", "GRU", shape=(4, 1, 16))
def _gru(s: ToyModel) -> ir.Value:
    return _build_recurrent(s, "GRU", 3)


def _build_residual_norm(s: ToyModel, op: str) -> tuple[ir.Value, ...]:
    return (s("LayerNormalization", s(op, s.x, s("Tanh", s.x)), s.random(16), s.random(16), axis=-1),)


@_register_claim(
    "an Add in front of a LayerNormalization is fused with it", "SkipLayerNormalization", "Add", shape=_RANK3_SHAPE
)
def _skip(s: ToyModel) -> tuple[ir.Value, ...]:
    return _build_residual_norm(s, "Add")


@_register_claim(
    "a Sum in front of a LayerNormalization is not", "Sum LayerNormalization", "SkipLayerNormalization", shape=_RANK3_SHAPE
)
def _no_skip(s: ToyModel) -> tuple[ir.Value, ...]:
    return _build_residual_norm(s, "Sum")


def _build_dynamic(s: ToyModel, readers: int) -> tuple[ir.Value, ...]:
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


@_register_claim(
    "a dynamic linear layer fuses whole",
    "DynamicQuantizeMatMul|MatMulIntegerToFloat",
    "MatMulInteger Cast Mul",
    shape=_RANK3_SHAPE,
)
def _dynamic_one(s: ToyModel) -> tuple[ir.Value, ...]:
    return _build_dynamic(s, 1)


@_register_claim(
    "dynamic linear layers that share their input fuse, each with its bias",
    "MatMulIntegerToFloat|DynamicQuantizeMatMul", "MatMulInteger Cast Mul Add", shape=_RANK3_SHAPE,
)  # fmt: skip
def _dynamic_three(s: ToyModel) -> tuple[ir.Value, ...]:
    return _build_dynamic(s, 3)


@_register_claim("int8 weights behind a Cast and a Mul are expanded at load", "Conv", "Cast Mul")
def _expanded(s: ToyModel) -> ir.Value:
    codes = s.constant(np.arange(256).reshape(16, 16, 1, 1) - 128, np.int8)
    return s("Conv", s.x, s("Mul", s("Cast", codes, to=ir.DataType.FLOAT), s.constant(np.full((16, 1, 1, 1), 0.01))))


@_register_claim("int8 weights behind a DequantizeLinear are converted at every run", "Conv DequantizeLinear")
def _not_expanded(s: ToyModel) -> ir.Value:
    return s("Conv", s.x, s.weights(16, 16, 1, 1))


@_register_claim("a codebook is expanded at load", "Conv", "Cast Gather Reshape")
def _codebook(s: ToyModel) -> ir.Value:
    codes = s.constant(np.arange(128), np.uint8)
    pairs = s("Gather", s.random(256, 2), s("Cast", codes, to=ir.DataType.INT32))
    return s("Conv", s.x, s("Reshape", pairs, s.constant([16, 16, 1, 1], np.int64)))
