"""The dynamic scheme on encoders: every linear layer an int8 kernel, answers stay, same inputs same bytes."""

from __future__ import annotations

from collections import Counter

import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, small, sqnr

STATIC = QuantizeOptions(placement="static")


@pytest.mark.parametrize(
    ("sequence", "pre_norm", "simplified"),
    [(16, True, True), (16, True, False), ("sequence", False, True)],
)
def test_every_linear_layer_of_an_encoder_becomes_an_int8_kernel(
    sequence: int | str, pre_norm: bool, simplified: bool
) -> None:
    model = small(layers=6, sequence=sequence, pre_norm=pre_norm)
    model = simplify(model)[0] if simplified else model
    samples = data(model)
    result, report = quantize(model, samples, STATIC)
    assert report.details["way"]["way"] == "dynamic"
    ops = Counter(node.op_type for node in read_optimized_graph(result).graph)
    assert ops["MatMulIntegerToFloat"] + ops["DynamicQuantizeMatMul"] == 36
    assert not {"Gemm", "MatMulInteger", "Cast"} & ops.keys()
    assert report.changed["layers in int8"] == 36
    assert "layers in float" not in report.changed
    assert sqnr(model, result, samples) > 30


def test_same_inputs_same_bytes() -> None:
    model = small(outliers=40.0, vocabulary=500)
    first, second = (model_file.to_bytes(quantize(model, data(model), STATIC)[0]) for _ in range(2))
    assert first == second
