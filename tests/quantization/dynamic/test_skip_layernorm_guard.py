"""Residual sums in front of a LayerNormalization keep their fast kernels."""

from __future__ import annotations

import pytest

from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from tests.support.encoder import data, small

STATIC = QuantizeOptions(placement="static")


@pytest.mark.parametrize("pre_norm", [True, False])
def test_residual_sums_are_kept_from_a_slower_fusion(pre_norm: bool) -> None:
    model = small(pre_norm=pre_norm)
    assert any(node.op_type == "SkipLayerNormalization" for node in read_optimized_graph(model).graph)
    result, report = quantize(model, data(model), STATIC)
    assert report.changed["residual sums kept apart from LayerNormalization"] == 4
    assert not any(node.op_type == "SkipLayerNormalization" for node in read_optimized_graph(result).graph)
