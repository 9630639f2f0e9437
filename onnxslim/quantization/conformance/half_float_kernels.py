"""Which ops the runtime computes in half floats on the processor at hand, and which it casts to float32 and back for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import SessionConfig

#: Op → its weights' shape (None: it has none), by maps of 16 channels, and its attributes.
_OPS: dict[str, tuple[tuple[int, ...] | None, dict[str, Any]]] = {
    "Conv": ((16, 16, 3, 3), {}),
    "MatMul": ((8, 8), {}),
    "Add": ((16, 8, 8), {}),
    "MaxPool": (None, {"kernel_shape": [2, 2]}),
    "GlobalAveragePool": (None, {}),
    "Relu": (None, {}),
    "Sigmoid": (None, {}),
    "Softmax": (None, {}),
}


def find_half_float_kernels(config: SessionConfig | None = None) -> dict[str, bool]:
    """By op, whether it is left without a Cast around it when the runtime has optimised it."""
    found = {}
    for op, (shape, attributes) in _OPS.items():
        toy = ToyModel(1, 16, 8, 8)
        toy.x.type = ir.TensorType(ir.DataType.FLOAT16)
        weights = [] if shape is None else [toy.constant(np.full(shape, 0.5), np.float16)]
        result = toy(op, toy.x, *weights, **attributes)
        result.type = ir.TensorType(ir.DataType.FLOAT16)
        try:
            graph = read_optimized_graph(toy.build(result), config).graph
        except OnnxslimError:  # there is no kernel at all
            found[op] = False
            continue
        found[op] = not any(node.op_type == "Cast" for node in graph)
    return found
