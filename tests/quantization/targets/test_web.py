"""What becomes int8 for the browser: what WASM gains, and nothing that it runs several times more slowly."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq import placement
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.registry import TARGETS
from tests.support.lstm_graphs import BATCH, STEPS, build_lstm
from tests.support.quantize_graphs import model, weight

WEB = TARGETS["web"]


def place(text: str, **constants: np.ndarray) -> set[str]:
    """The ops that the target's own times place in int8."""
    found = model(text, **constants)
    units = find_fusion_groups(found, WEB)
    int8 = placement.place(units, placement.estimate_unit_times(found, units, WEB.cost_model))
    return {unit.name for unit in units if unit.name in int8}


def test_dense_convolutions_become_int8_and_a_depthwise_one_and_a_pool_between_them_do_not() -> None:
    text = """g (float[1,64,56,56] x) => (float[1,64,56,56] y) {
        [first] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
        [depthwise] b = Conv <pads = [1, 1, 1, 1], group = 64> (a, w2)
        [pool] c = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b)
        [last] y = Conv <pads = [1, 1, 1, 1]> (c, w3)
    }"""
    dense = weight(64, 64, 3, 3)
    assert place(text, w1=dense, w2=weight(64, 1, 3, 3), w3=dense) == {"first", "last"}


@pytest.mark.parametrize(("rows", "expected"), [(1, set()), (128, {"layer"})])
def test_a_linear_layer_pays_from_some_rows_on(rows: int, expected: set[str]) -> None:
    text = f"g (float[{rows},768] x) => (float[{rows},768] y) {{ [layer] y = MatMul (x, w) }}"
    assert place(text, w=weight(768, 768)) == expected


def test_weights_alone_are_expanded_at_load_and_four_bits_are_written_with_a_warning() -> None:
    found = model("g (float[n,256] x) => (float[n,1024] y) { y = MatMul (x, w) }", w=weight(256, 1024))
    eight, report = quantize(found, None, QuantizeOptions(target="web", weights="int8"))
    assert not any(node.op_type == "MatMulNBits" for node in eight.graph)
    assert any("blocks" in skip.reason for skip in report.skipped)
    four, report = quantize(found, None, QuantizeOptions(target="web", weights="int4"))
    assert any(node.op_type == "MatMulNBits" for node in four.graph)
    assert any("WebGPU" in warning for warning in report.warnings)


def test_linear_layers_in_four_bits_beside_int8_are_written_with_a_warning_too() -> None:
    text = "g (float[1,256] x) => (float[1,8] y) { a = MatMul (x, v) \n b = Relu (a) \n y = MatMul (b, w) }"
    found = model(text, v=weight(256, 2048), w=weight(2048, 8))
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)}, found)
    options = QuantizeOptions(target="web", activations="static", linear="int4")
    _, report = quantize(found, samples, options)
    assert any("blocks" in warning for warning in report.warnings)


def test_an_lstm_stays_float() -> None:
    found = build_lstm(hidden=128, inputs=128)
    x = np.zeros((3, STEPS, BATCH, 128), np.float32)
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(found, open_samples([{"x": row} for row in x], found), QuantizeOptions(target="web", activations="dynamic"))
