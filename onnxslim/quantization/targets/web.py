"""onnxruntime-web's WASM provider: the CPU provider's kernels, compiled to 128-bit SIMD without an int8 dot product.

The same Q/DQ patterns fuse, into kernels of other worth: products of int8 are widened to 16 bits, so that a dense
convolution gains a factor of two and nothing else does. Ratios measured with onnxruntime-web 1.30 under Node 20 by
processor time (``benchmarks/web/web.py`` measures them again).
"""

from __future__ import annotations

from dataclasses import replace

from onnxslim.quantization.targets.base import CostModel
from onnxslim.quantization.targets.onnxruntime_cpu import CPU

WASM_COSTS = CostModel(
    dense_mac=(0.062, 0.032),
    misaligned_mac=(0.065, 0.080),
    depthwise_mac=(0.280, 0.950),
    misaligned_depthwise_mac=(0.280, 0.950),
    grouped_mac=(0.093, 0.150),
    element=(0.25, 0.20),
    element_by_op={
        "Sigmoid": (2.30, 0.37),
        "LeakyRelu": (0.43, 0.34),
        "Mul": (0.31, 0.84),
        "Add": (0.29, 0.82),
        "MaxPool": (1.10, 12.80),
        "AveragePool": (3.40, 11.30),
        "Softmax": (2.06, 2.60),
    },
    float_silu=2.3,
    int8_linear_weight=0.085,
    convert=0.33,
    relayout=0.33,
    node_overhead=3000.0,
    channel_multiple=4,
    depthwise_multiple=16,
)

WEB = replace(
    CPU,
    name="web",
    provider="wasm",
    is_downloaded=True,
    cost_model=WASM_COSTS,
    # an LSTM takes 1.4 times as long in int8 as in float there
    dynamic_kernels={op: kernel for op, kernel in CPU.dynamic_kernels.items() if op != "LSTM"},
    slow_blocks_reason="WASM reads weights in blocks up to 25 times more slowly than float ones",
)
