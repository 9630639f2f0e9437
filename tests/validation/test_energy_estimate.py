"""Energy estimated from arithmetic and traffic."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.validation.energy_estimate import estimate_energy
from tests.support.channel_graphs import model as net
from tests.support.paths import SAMPLES


def test_int8_is_estimated_to_take_less_and_twice_the_work_twice_the_arithmetic() -> None:
    from onnxslim.data.sources import open_samples

    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    int8, _ = quantize(model, open_samples(SAMPLES / "digits_calib.npz", model), QuantizeOptions(float_units=()))
    before, after = estimate_energy(model), estimate_energy(int8)
    assert after.arithmetic < before.arithmetic / 5
    assert after.traffic < before.traffic
    conv = _convolution(8), _convolution(16)
    assert estimate_energy(conv[1]).arithmetic == pytest.approx(2 * estimate_energy(conv[0]).arithmetic)


def test_products_with_weights_in_4_bits_are_work_like_any_others() -> None:
    model = model_file.load(SAMPLES / "digits_mlp.onnx")
    int4, _ = quantize(model, None, QuantizeOptions(weights="int4"))
    assert any(node.op_type == "MatMulNBits" for node in int4.graph)
    before, after = estimate_energy(model), estimate_energy(int4)
    assert after.arithmetic == pytest.approx(before.arithmetic)
    assert after.traffic < before.traffic


def test_weights_that_are_expanded_at_load_are_read_as_they_are_then() -> None:
    gru = net(
        "y = GRU<hidden_size=64>(x, w, r)", {"w": (1, 192, 32), "r": (1, 192, 64)},
        inputs="float[5,1,32] x", outputs="float[5,1,1,64] y",
    )  # fmt: skip
    int8, _ = quantize(gru, None, QuantizeOptions(weights="int8"))
    assert {"Cast", "Mul"} <= {node.op_type for node in int8.graph}
    assert estimate_energy(int8).total == pytest.approx(estimate_energy(gru).total, rel=0.02)


def _convolution(channels: int) -> ir.Model:
    kind = ir.TensorType(ir.DataType.FLOAT)
    x = ir.Value(name="x", type=kind, shape=ir.Shape([1, 3, 8, 8]))
    w = ir.Value(name="w", type=kind, shape=ir.Shape([channels, 3, 1, 1]))
    w.const_value = ir.tensor(np.ones((channels, 3, 1, 1), np.float32), name="w")
    node = ir.node("Conv", [x, w], name="conv")
    node.outputs[0].name, node.outputs[0].type, node.outputs[0].shape = "y", kind, ir.Shape([1, channels, 8, 8])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)
