"""Which function runs which operator: all families in one table, by ONNX name."""

from __future__ import annotations

from onnxslim.recovery.ops import (
    activation,
    attention,
    cast,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    logic,
    loss,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shape,
    signal,
)
from onnxslim.recovery.ops.call import OpFunction

_FAMILIES = (
    activation,
    attention,
    cast,
    control,
    convolution,
    elementwise,
    indexing,
    linear,
    logic,
    loss,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    shape,
    signal,
)

#: (domain, operator) → its function. onnxruntime's own domain has Q/DQ under the same meaning, for any opset.
OP_FUNCTIONS: dict[tuple[str, str], OpFunction] = {
    **{("", name): op for family in _FAMILIES for name, op in family.OPS.items()},
    ("ai.onnx.ml", "ArrayFeatureExtractor"): indexing.array_feature_extractor,
    ("com.microsoft", "DequantizeLinear"): quantization.dequantize_linear,
    ("com.microsoft", "Gelu"): activation.gelu,
    ("com.microsoft", "QuantizeLinear"): quantization.quantize_linear,
}
