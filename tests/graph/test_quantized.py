"""Models that are quantised already are recognised."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.quantization.step import quantize
from tests.support.encoder import small
from tests.support.quantize_graphs import options


@pytest.mark.parametrize("weights", ["int8", "int4", "codebook:16", "codebook:256", "int8:qdq", "int4:qdq"])
def test_what_was_stored_in_fewer_bits_is_recognised_and_left(weights: str) -> None:
    result, _ = quantize(small(), None, options(weights))
    with pytest.raises(UnsupportedError, match="quantised already: weight-only"):
        quantize(result, None, options("int8"))
