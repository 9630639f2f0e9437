"""Models that are quantised already are recognised."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import NothingGainedError, UnsupportedError
from onnxslim.graph.quantized import detect_quantization, quantizes_activations
from onnxslim.model_io import model_file
from onnxslim.quantization.step import quantize
from tests.support.encoder import small
from tests.support.quantize_graphs import options


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
