"""Models that are quantised already are recognised."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import NothingGainedError, UnsupportedError
from onnxslim.graph.quantized import detect_quantization, quantizes_activations
from onnxslim.model_io import model_file
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.quantization.storage.narrow_constants import narrow_constants
from tests.support.encoder import small
from tests.support.quantize_graphs import model, options


@pytest.mark.parametrize("weights", ["int4", "codebook:16", "codebook:256"])
def test_what_was_stored_in_fewer_bits_is_recognised_and_left(weights: str) -> None:
    result, _ = quantize(small(), None, options(weights))
    assert not quantizes_activations(result)
    with pytest.raises(UnsupportedError, match="quantised already: weight-only"):
        quantize(result, None, options("int8"))


@pytest.mark.parametrize("weights", ["int8", "int8:qdq", "int4:qdq"])
def test_weights_that_are_expanded_or_dequantized_are_told_and_go_on_but_are_not_written_larger(weights: str) -> None:
    result, _ = quantize(small(), None, options(weights))
    assert str(detect_quantization(result)).startswith("weight-only (")
    assert not quantizes_activations(result)
    if weights != "int8:qdq":
        with pytest.raises(NothingGainedError):
            quantize(result, None, options("int8"))
    else:
        assert len(model_file.to_bytes(quantize(result, None, options("int8"))[0])) <= len(model_file.to_bytes(result))


def test_tables_that_are_stored_in_bytes_are_no_quantised_weights() -> None:
    rng = np.random.default_rng(0)
    text = """g (float[n,16] x) => (float[n,600] y) {
        a = MatMul (x, w)
        b = Mul (a, mask)
        c = Add (b, anchors)
        y = Gather <axis = 1> (c, order)
    }"""
    found = model(
        text, w=rng.normal(size=(16, 600)).astype(np.float32), mask=(rng.random((1, 600)) > 0.5).astype(np.float32),
        anchors=rng.choice(rng.normal(size=9), (1, 600)).astype(np.float32), order=np.arange(600)[::-1].copy(),
    )  # fmt: skip
    narrow_constants(found, halves=False)
    kinds = {value.const_value.dtype.name for value in found.graph.initializers.values()}  # type: ignore[union-attr]
    assert {"UINT8", "INT8"} & kinds
    assert detect_quantization(found) is None
    result, _ = quantize(found, None, options("int8"))
    assert str(detect_quantization(result)).startswith("weight-only (")
    prepare_model(result)
    assert detect_quantization(result) is None, "weights taken out of their codes leave nothing that counts as quantised"
