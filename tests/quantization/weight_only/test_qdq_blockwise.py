"""Blocks in the standard's own form."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.step import quantize
from tests.support.encoder import small, sqnr
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import options


@pytest.mark.parametrize(("weights", "ratio", "least"), [("int8:qdq", 3.4, 35), ("int4:qdq", 4.5, 15)])
def test_convolutions_are_dequantised_by_the_standards_op_and_that_is_said(
    digits: ir.Model, weights: str, ratio: float, least: float
) -> None:
    result, report = quantize(digits, None, options(weights))
    assert (result.opset_imports[""] or 0) >= 21
    assert len(model_file.to_bytes(digits)) > ratio * len(model_file.to_bytes(result))
    read = {node.op_type for one in result.graph if one.op_type == "DequantizeLinear" for node, _ in one.outputs[0].uses()}
    assert "Conv" in read
    blocked = [node for node in result.graph if "block_size" in node.attributes]
    assert bool(blocked) == weights.startswith("int4")
    assert any("at every inference" in line for line in report.warnings)
    named = [model_file.clone(m) for m in (digits, result)]
    for model in named:
        model.graph.outputs[0].name = "y"
    assert sqnr(*named, open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=16)) > least


def test_tensorrt_gets_the_standards_form_unasked() -> None:
    result, report = quantize(small(), None, options("int4", target="tensorrt"))
    ops = Counter(node.op_type for node in result.graph)
    assert (ops["DequantizeLinear"], ops["MatMulNBits"]) == (12, 0)
    assert "TensorRT does not know onnxruntime's own ops" in [skipped.reason for skipped in report.skipped]
