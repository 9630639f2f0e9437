"""onnxruntime's CPU provider: asymmetric uint8 activations, int8 weights a channel, Q/DQ fused into QLinear kernels.

Two targets: x86 without VNNI adds pairs of products in 16 bits, where they saturate; ``detect.py`` asks which one is here.
"""

from __future__ import annotations

from dataclasses import replace

from onnxslim.quantization.targets.base import CostModel, OpKind, SupportCheck, SupportedOp, Target
from onnxslim.quantization.targets.op_checks import (
    accept_always,
    check_average_pool,
    check_clip,
    check_conv,
    check_float_arithmetic,
    check_gemm,
    check_matmul,
    check_moves_float,
    check_resize,
    check_softmax,
    check_where,
)


def _make_shared_range_op(kernel: str, check: SupportCheck = check_moves_float) -> SupportedOp:
    return SupportedOp(OpKind.SHARED_RANGE, check, kernel)


CPU_SUPPORTED_OPS: dict[str, SupportedOp] = {
    "Conv": SupportedOp(OpKind.WEIGHTED, check_conv, "QLinearConv"),
    "Gemm": SupportedOp(OpKind.WEIGHTED, check_gemm, "QGemm", float_output=True, int32_bias=True),
    "MatMul": SupportedOp(
        OpKind.WEIGHTED, check_matmul, "MatMulIntegerToFloat|QLinearMatMul|QGemm", float_output=True, int32_bias=True
    ),
    "Add": SupportedOp(OpKind.OWN_RANGE, check_float_arithmetic, "QLinearAdd"),
    "Mul": SupportedOp(OpKind.OWN_RANGE, check_float_arithmetic, "QLinearMul"),
    "AveragePool": SupportedOp(OpKind.OWN_RANGE, check_average_pool, "QLinearAveragePool"),
    "GlobalAveragePool": SupportedOp(OpKind.OWN_RANGE, accept_always, "QLinearGlobalAveragePool"),
    "Sigmoid": SupportedOp(OpKind.OWN_RANGE, accept_always, "QLinearSigmoid"),
    "LeakyRelu": SupportedOp(OpKind.OWN_RANGE, accept_always, "QLinearLeakyRelu"),
    "Softmax": SupportedOp(OpKind.OWN_RANGE, check_softmax, "QLinearSoftmax"),
    "Concat": SupportedOp(OpKind.OWN_RANGE, check_float_arithmetic, "QLinearConcat"),
    "Where": SupportedOp(OpKind.OWN_RANGE, check_where, "QLinearWhere", activation_inputs=(1, None)),
    "MaxPool": _make_shared_range_op("MaxPool|NhwcMaxPool"),
    "Resize": _make_shared_range_op("Resize", check_resize),
    "DepthToSpace": _make_shared_range_op("DepthToSpace"),
    "Split": _make_shared_range_op("Split"),
    "Reshape": _make_shared_range_op("Reshape"),
    "Transpose": _make_shared_range_op("Transpose"),
    "Flatten": _make_shared_range_op("Flatten|Reshape"),
    "Squeeze": _make_shared_range_op("Squeeze"),
    "Unsqueeze": _make_shared_range_op("Unsqueeze"),
    "Slice": _make_shared_range_op("Slice"),
    "Gather": _make_shared_range_op("Gather"),
    "Expand": _make_shared_range_op("Expand"),
    "Tile": _make_shared_range_op("Tile"),
    "Relu": SupportedOp(OpKind.FOLD, accept_always, ""),
    "Clip": SupportedOp(OpKind.FOLD, check_clip, ""),
}

#: GRU and RNN have no such kernel, and ConvInteger is slower than float.
CPU_DYNAMIC_KERNELS: dict[str, str] = {
    "MatMul": "DynamicQuantizeMatMul|MatMulIntegerToFloat",
    "Gemm": "DynamicQuantizeMatMul|MatMulIntegerToFloat",
    "LSTM": "DynamicQuantizeLSTM",
}

#: Ratios measured on x86 with VNNI.
X86_VNNI_COSTS = CostModel(
    dense_mac=(0.020, 0.006),
    misaligned_mac=(0.035, 0.060),
    depthwise_mac=(0.080, 0.100),
    misaligned_depthwise_mac=(0.080, 0.320),
    grouped_mac=(0.025, 0.025),
    element=(0.25, 0.10),
    element_by_op={
        "Sigmoid": (0.24, 0.25),
        "LeakyRelu": (0.19, 0.25),
        "Mul": (0.12, 0.19),
        "Add": (0.12, 0.10),
        "Concat": (0.08, 0.02),
    },
    float_silu=0.145,
    convert=0.3,
    relayout=0.3,
    node_overhead=1500.0,
    channel_multiple=4,
    depthwise_multiple=16,
)

CPU = Target(
    "cpu",
    "cpu",
    X86_VNNI_COSTS,
    CPU_SUPPORTED_OPS,
    dynamic_kernels=CPU_DYNAMIC_KERNELS,
    int8_kernels=(
        "QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize", "QMoE", "MatMulNBits", "QAttention",
    ),
)  # fmt: skip
CPU_NO_VNNI = replace(CPU, name="cpu-no-vnni", saturating_pairs=True)
