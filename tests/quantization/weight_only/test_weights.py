"""Which weights can be stored in fewer bits, each once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.dynamic import rewrite
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only.weights import exclude_layers
from tests.support.encoder import small, sqnr, tied
from tests.support.quantize_graphs import kernels, options


@pytest.mark.parametrize("weights", ["int8", "int4", "codebook:16", "int4:qdq"])
def test_a_table_tied_to_the_output_layer_is_stored_once(weights: str) -> None:
    model = tied("Transpose")
    result, _ = quantize(model, None, options(weights))
    assert len(model_file.to_bytes(model)) > 2.5 * len(model_file.to_bytes(result))
    samples = open_samples({"ids": np.arange(40) % 500}, model)
    assert sqnr(model, result, samples) > (12 if weights == "codebook:16" else 35)


def test_large_tables_keep_rows_and_convert_only_what_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "MIN_TABLE_ELEMENTS", 500 * 64)
    model = small(vocabulary=500)
    result, report = quantize(model, None, options("int4"))
    assert report.changed["embedding tables in int8"] == 1
    assert any(node.op_type == "Gather" and node.inputs[0].dtype == ir.DataType.INT8 for node in result.graph)  # type: ignore[union-attr]


def test_small_tables_are_expanded_at_load() -> None:
    model = small(vocabulary=500)
    result, _ = quantize(model, None, options("int8"))
    assert kernels(result) == kernels(model)


def test_an_excluded_layer_keeps_its_weights() -> None:
    model = small()
    result, report = quantize(model, None, options("int8", exclude=(r"layer0\.mlp\.up",)))
    assert "layer0.mlp.up.weight" in result.graph.initializers
    assert ("layer0.mlp.up.weight", "it was excluded") in [(d.node, d.reason) for d in report.skipped]


def test_layers_are_excluded_by_their_names_not_by_patterns() -> None:
    assert exclude_layers(("a.*",), ()) == ("a.*",)
    assert exclude_layers(("a.*",), ["x.1", "b"]) == ("a.*", r"b|x\.1")
