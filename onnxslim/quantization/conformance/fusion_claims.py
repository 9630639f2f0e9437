"""What the placement of Q/DQ rests on beyond the tables' rows: conditions, each drawn both ways where it has two.

A claim is a small model and the ops that must, or must not, be left when the runtime has optimised it. Adding one is one
entry here; ``pattern_checks.py`` runs them, for the tests and for ``onnxslim doctor``.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.quantization.targets.arm import ARM_MACHINES


@dataclass(frozen=True)
class FusionClaim:
    """One line of what is believed of the runtime.

    Attributes:
        description: The claim in words.
        draw: Draws the model and returns its outputs.
        expected_ops: Op types that must be left (``A|B``: one of them), with spaces between.
        forbidden_ops: Op types that must be gone.
        shape: Of the model's input.
        opset: Of the model.
        machines: Processors that it is about, as ``platform.machine()`` names them; none are all.
    """

    description: str
    draw: Callable[[ToyModel], ir.Value | tuple[ir.Value, ...]]
    expected_ops: str
    forbidden_ops: str = ""
    shape: tuple[int | str, ...] = (1, 16, 8, 8)
    opset: int = 17
    machines: tuple[str, ...] = ()

    def build(self) -> ir.Model:
        """The small model."""
        toy = ToyModel(*self.shape, opset=self.opset)
        outputs = self.draw(toy)
        return toy.build(*(outputs if isinstance(outputs, tuple) else (outputs,)))

    def holds(self, ops: Container[str]) -> bool:
        """Whether the optimised graph's ``ops`` are as claimed."""
        all_expected = all(any(op in ops for op in alternatives.split("|")) for alternatives in self.expected_ops.split())
        return all_expected and not any(op in ops for op in self.forbidden_ops.split())


def _build_residual(s: ToyModel, dtype: type, zero: int) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x, zero_point=zero, dtype=dtype)), zero_point=zero, dtype=dtype)
    first, second = s.dequantize(a, zero_point=zero, dtype=dtype), s.dequantize(a, zero_point=zero, dtype=dtype)
    b = s.qdq(s.conv(first), zero_point=zero, dtype=dtype)
    return s.qdq(s("Add", b, second), zero_point=zero, dtype=dtype)


def _excluded(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s.conv(s.qdq(s("Conv", s.dequantize(a), s.random(16, 16, 1, 1)))))


def _excluded_vector(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s.conv(s.qdq(s("Conv", s.dequantize(a, vector_size=16), s.random(16, 16, 1, 1)))))


def _two_activations(s: ToyModel) -> ir.Value:
    a = s.qdq(s.x)
    return s.qdq(s("MatMul", a, s("Transpose", a, perm=[1, 0])))


def _build_clip(s: ToyModel, top: float) -> ir.Value:
    return s.qdq(s("Clip", s.conv(s.qdq(s.x)), s.constant(0.0), s.constant(6.0)), scale=top / 255, zero_point=0)


def _returned(s: ToyModel) -> tuple[ir.Value, ...]:
    a = s.conv(s.qdq(s.x))
    return s.qdq(a), a


def _shared(s: ToyModel) -> tuple[ir.Value, ...]:
    a = s.conv(s.qdq(s.x))
    return s.qdq(a), s("Tanh", a)


def _int8_constant(s: ToyModel) -> ir.Value:
    codes = s.constant(np.arange(16).reshape(1, 16, 1, 1), np.uint8)
    return s.qdq(s("Add", s.qdq(s.x), s.dequantize(codes)))


def _silu(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s("Mul", s.dequantize(a), s.qdq(s("Sigmoid", s.dequantize(a)), 1 / 256, 0)))


def _silu_open(s: ToyModel) -> ir.Value:
    a = s.quantize(s.conv(s.qdq(s.x)))
    return s.qdq(s("Mul", s.dequantize(a), s("Sigmoid", s.dequantize(a))))


def _reshape_scales(s: ToyModel) -> ir.Value:
    a = s.qdq(s.conv(s.qdq(s.x)))
    b = s("Reshape", a, s.constant([1, 16, 4, 16], np.int64))
    return s.qdq(s.conv(s.qdq(b, 0.05)))


def _build_recurrent(s: ToyModel, op: str, gates: int) -> ir.Value:
    w, r = s.random(1, 8 * gates, 16), s.random(1, 8 * gates, 8)
    return s.qdq(s(op, s.qdq(s.x), w, r, hidden_size=8))


def _build_residual_norm(s: ToyModel, op: str) -> tuple[ir.Value, ...]:
    return (s("LayerNormalization", s(op, s.x, s("Tanh", s.x)), s.random(16), s.random(16), axis=-1),)


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


def _build_dynamic_lstm(s: ToyModel, per_output: bool) -> ir.Value:
    hidden, inputs, rng = 8, 16, np.random.default_rng(1)
    x = s("Transpose", s.x, perm=[1, 0, 2])
    scale_shape = (1, 4 * hidden) if per_output else (1,)
    scales, zeros = s.constant(np.full(scale_shape, 0.01)), s.constant(np.zeros(scale_shape), np.int8)
    w, r = (s.constant(rng.integers(-127, 128, (1, size, 4 * hidden)), np.int8) for size in (inputs, hidden))
    return s(
        "DynamicQuantizeLSTM", x, w, r, *[None] * 5, scales, zeros, scales, zeros, domain="com.microsoft", hidden_size=hidden
    )


def _expanded(s: ToyModel) -> ir.Value:
    codes = s.constant(np.arange(256).reshape(16, 16, 1, 1) - 128, np.int8)
    return s("Conv", s.x, s("Mul", s("Cast", codes, to=ir.DataType.FLOAT), s.constant(np.full((16, 1, 1, 1), 0.01))))


def _codebook(s: ToyModel) -> ir.Value:
    codes = s.constant(np.arange(128), np.uint8)
    pairs = s("Gather", s.random(256, 2), s("Cast", codes, to=ir.DataType.INT32))
    return s("Conv", s.x, s("Reshape", pairs, s.constant([16, 16, 1, 1], np.int64)))


_RANK2_SHAPE, _RANK3_SHAPE = (4, 16), (1, 4, 16)
_X86_MACHINES = ("x86_64", "AMD64", "i386", "i686")
# fmt: off
_CLAIMS = [
    FusionClaim("uint8 activations that two ops read fuse",
                lambda s: _build_residual(s, np.uint8, 128), "QLinearConv QLinearAdd", "Conv Add"),
    FusionClaim("int8 activations that two ops read keep both float on x86",
                lambda s: _build_residual(s, np.int8, 0), "Conv Add", "QLinearAdd", machines=_X86_MACHINES),
    FusionClaim("int8 activations that two ops read fuse on Arm",
                lambda s: _build_residual(s, np.int8, 0), "QLinearConv QLinearAdd", "Conv Add", machines=ARM_MACHINES),
    FusionClaim("an excluded Conv behind a scalar scale is quantised all the same", _excluded, "QLinearConv", "Conv"),
    FusionClaim("an excluded Conv behind a vector of equal scales stays float, its neighbours fuse",
                _excluded_vector, "QLinearConv Conv"),
    FusionClaim("static MatMul + Add of a vector with a float output is a float Gemm",
                lambda s: s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16)),
                "Gemm", "MatMulIntegerToFloat", shape=_RANK2_SHAPE),
    FusionClaim("static MatMul + Add with a bias of rank 3 is int8",
                lambda s: s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(1, 1, 16)),
                "MatMulIntegerToFloat", "Gemm", shape=_RANK3_SHAPE),
    FusionClaim("static MatMul + Add with a quantised output is int8",
                lambda s: s.qdq(s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16))),
                "QLinearMatMul|QGemm", "Gemm MatMul", shape=_RANK2_SHAPE),
    FusionClaim("a Gemm with an int32 bias and a float output is int8",
                lambda s: s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.bias(16, 0.02 * 0.01)),
                "QGemm", "Gemm", shape=_RANK2_SHAPE),
    FusionClaim("a Gemm with a float bias and a float output is float",
                lambda s: s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.random(16)),
                "Gemm", "QGemm", shape=_RANK2_SHAPE),
    FusionClaim("a Gemm whose alpha is not 1 is float when it has a bias",
                lambda s: s.qdq(s("Gemm", s.qdq(s.x), s.weights(16, 16, axis=1), s.bias(16, 0.02 * 0.01), alpha=0.5)),
                "Gemm", "QGemm", shape=_RANK2_SHAPE),
    FusionClaim("MatMul + Add with a free dimension and rank 3 is int8",
                lambda s: s("Add", s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=1)), s.random(16)),
                "MatMulIntegerToFloat", "Gemm", shape=(1, "n", 16)),
    FusionClaim("MatMul of two activations with a quantised output is int8",
                _two_activations, "QLinearMatMul", "MatMul", shape=(16, 16)),
    FusionClaim("a Relu folds into a range that starts at zero",
                lambda s: s.qdq(s("Relu", s.conv(s.qdq(s.x))), zero_point=0), "QLinearConv", "Relu"),
    FusionClaim("a Relu before a range around zero keeps its Conv float",
                lambda s: s.qdq(s("Relu", s.conv(s.qdq(s.x))), zero_point=128), "FusedConv|Relu", "QLinearConv"),
    FusionClaim("a Clip(0, 6) folds into a range that ends at 6", lambda s: _build_clip(s, 5.9999), "QLinearConv", "Clip"),
    FusionClaim("a Clip(0, 6) before a range that ends at 6.5 keeps its Conv float",
                lambda s: _build_clip(s, 6.5), "FusedConv|Clip", "QLinearConv"),
    FusionClaim("a Conv with a float bias is int8",
                lambda s: s.qdq(s.conv(s.qdq(s.x), s.random(16))), "QLinearConv", "Conv"),
    FusionClaim("a Conv with an int32 bias of the right scale is int8",
                lambda s: s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01))), "QLinearConv", "Conv"),
    FusionClaim("a Conv with an int32 bias whose scale is 5 % off is float",
                lambda s: s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01 * 1.05))), "Conv", "QLinearConv"),
    FusionClaim("an int32 bias with a zero point keeps its Conv float",
                lambda s: s.qdq(s.conv(s.qdq(s.x), s.bias(16, 0.02 * 0.01, 3))), "Conv", "QLinearConv"),
    FusionClaim("a Conv with weights per input channel fuses, and its axis is ignored: never write that",
                lambda s: s.qdq(s("Conv", s.qdq(s.x), s.weights(16, 16, 1, 1, axis=1))), "QLinearConv", "Conv"),
    FusionClaim("a MatMul with weights per input is float",
                lambda s: s.qdq(s("MatMul", s.qdq(s.x), s.weights(16, 16, axis=0))),
                "MatMul", "QLinearMatMul MatMulIntegerToFloat", shape=_RANK2_SHAPE),
    FusionClaim("a Conv whose output the model returns as well is float", _returned, "Conv", "QLinearConv"),
    FusionClaim("a Conv whose output is not quantised is float", lambda s: s.conv(s.qdq(s.x)), "Conv", "QLinearConv"),
    FusionClaim("a Conv whose output something reads in float as well is float", _shared, "Conv", "QLinearConv"),
    FusionClaim("an Add of a float constant is float",
                lambda s: s.qdq(s("Add", s.qdq(s.x), s.random(1, 16, 1, 1))), "Add", "QLinearAdd"),
    FusionClaim("an Add of a dequantised constant is int8", _int8_constant, "QLinearAdd", "Add"),
    FusionClaim("a Concat with one float input is float",
                lambda s: s.qdq(s("Concat", s.qdq(s.x), s.x, axis=1)), "Concat", "QLinearConcat"),
    FusionClaim("a Concat of different scales is int8",
                lambda s: s.qdq(s("Concat", s.qdq(s.x), s.qdq(s.x, 0.03, 100), axis=1), 0.04), "QLinearConcat", "Concat"),
    FusionClaim("SiLU with Q/DQ behind the Sigmoid and behind the Mul fuses whole",
                _silu, "QLinearSigmoid QLinearMul", "Sigmoid Mul"),
    FusionClaim("SiLU without Q/DQ behind the Sigmoid is float", _silu_open, "Sigmoid|QuickGelu"),
    FusionClaim("SiLU in float is one kernel", lambda s: s("Mul", s.x, s("Sigmoid", s.x)), "QuickGelu", "Sigmoid Mul"),
    FusionClaim("a Reshape between two different scales runs in float",
                _reshape_scales, "DequantizeLinear QuantizeLinear Reshape"),
    FusionClaim("16-bit activations keep a Conv float",
                lambda s: s.qdq(s.conv(s.qdq(s.x, 0.001, 32768, np.uint16)), 0.001, 32768, np.uint16),
                "Conv", "QLinearConv", opset=21),
    FusionClaim("an LSTM between Q/DQ is float", lambda s: _build_recurrent(s, "LSTM", 4), "LSTM", shape=(4, 1, 16)),
    FusionClaim("a GRU between Q/DQ is float", lambda s: _build_recurrent(s, "GRU", 3), "GRU", shape=(4, 1, 16)),
    FusionClaim("an Add in front of a LayerNormalization is fused with it",
                lambda s: _build_residual_norm(s, "Add"), "SkipLayerNormalization", "Add", shape=_RANK3_SHAPE),
    FusionClaim("a Sum in front of a LayerNormalization is not",
                lambda s: _build_residual_norm(s, "Sum"),
                "Sum LayerNormalization", "SkipLayerNormalization", shape=_RANK3_SHAPE),
    FusionClaim("a dynamic linear layer fuses whole",
                lambda s: _build_dynamic(s, 1),
                "DynamicQuantizeMatMul|MatMulIntegerToFloat", "MatMulInteger Cast Mul", shape=_RANK3_SHAPE),
    FusionClaim("dynamic linear layers that share their input fuse, each with its bias",
                lambda s: _build_dynamic(s, 3),
                "MatMulIntegerToFloat|DynamicQuantizeMatMul", "MatMulInteger Cast Mul Add", shape=_RANK3_SHAPE),
    FusionClaim("an LSTM with dynamic ranges and a scale for each output has a kernel",
                lambda s: _build_dynamic_lstm(s, per_output=True), "DynamicQuantizeLSTM", "LSTM", shape=_RANK3_SHAPE),
    FusionClaim("an LSTM with dynamic ranges and a scale for each direction has a kernel",
                lambda s: _build_dynamic_lstm(s, per_output=False), "DynamicQuantizeLSTM", "LSTM", shape=_RANK3_SHAPE),
    FusionClaim("int8 weights behind a Cast and a Mul are expanded at load", _expanded, "Conv", "Cast Mul"),
    FusionClaim("int8 weights behind a DequantizeLinear are converted at every run",
                lambda s: s("Conv", s.x, s.weights(16, 16, 1, 1)), "Conv DequantizeLinear"),
    FusionClaim("a codebook is expanded at load", _codebook, "Conv", "Cast Gather Reshape"),
]
# fmt: on


def list_claims(machine: str) -> list[FusionClaim]:
    """Those that are about the processor ``machine``, as ``platform.machine()`` names it."""
    return [claim for claim in _CLAIMS if not claim.machines or machine in claim.machines]
