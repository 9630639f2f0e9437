"""TensorRT: symmetric int8 activations, float biases, and nothing but the standard's ops."""

from __future__ import annotations

from dataclasses import replace

from onnxslim.quantization.targets.base import OpKind, Target
from onnxslim.quantization.targets.onnxruntime_cpu import CPU, CPU_SUPPORTED_OPS, X86_VNNI_COSTS

TENSORRT = Target(
    "tensorrt",
    "tensorrt",
    X86_VNNI_COSTS,  # its own times were not measured by us
    # it fuses around layers by itself: only what it quantises explicitly gets Q/DQ, and never a Softmax or a bias
    {
        op: replace(row, kernel="", int32_bias=False, float_output=row.kind is OpKind.WEIGHTED)
        for op, row in CPU_SUPPORTED_OPS.items()
        if op not in ("Softmax", "Sigmoid", "LeakyRelu", "Mul", "Where", "Gather", "Tile")
    },
    int8_kernels=CPU.int8_kernels,  # where the model is read back without a device, the CPU provider optimised it
    no_contrib_ops_reason="TensorRT does not know onnxruntime's own ops",
    activation_symmetric=True,
    preset="tensorrt",
)
