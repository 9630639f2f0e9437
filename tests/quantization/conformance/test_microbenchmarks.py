"""Every layer that is timed really runs in int8."""

from __future__ import annotations

import numpy as np

from onnxslim.quantization.conformance.microbenchmarks import BENCHMARK_LAYERS
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session


def test_every_layer_that_doctor_times_is_int8() -> None:
    for name, draw in BENCHMARK_LAYERS.items():
        shape, models = draw()
        ops = {node.op_type for node in read_optimized_graph(models["int8"]).graph}
        kernels = {"blocks": "MatMulNBits", "dynamic": "DynamicQuantizeMatMul", "residual": "LayerNormalization"}
        kernels |= {"LSTM": "DynamicQuantizeLSTM", "SiLU": "QLinearMul"}
        wanted = next((kernel for word, kernel in kernels.items() if word in name), "QLinearConv")
        assert wanted in ops, f"{name} left {ops}"
        assert Session(models["int8"]).run({"x": np.zeros(shape, np.float32)})["y0"].shape[0] == shape[0]
