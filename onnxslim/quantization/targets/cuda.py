"""onnxruntime's CUDA provider: float16, since it has no int8 kernels."""

from __future__ import annotations

from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.onnxruntime_cpu import CPU_SUPPORTED_OPS, X86_VNNI_COSTS

CUDA = Target(
    "cuda",
    "cuda",
    X86_VNNI_COSTS,  # nothing is placed without rows
    unsupported_reason="the CUDA provider has no int8 kernels for Q/DQ: "
    "it would run Q, DQ and a float Conv, slower than float",
    probed_ops=CPU_SUPPORTED_OPS,
    preset="gpu",
)
