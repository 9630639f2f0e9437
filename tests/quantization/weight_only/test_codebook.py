"""Codebooks: indices packed in bytes, and what they are good for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only import codebook
from tests.support.quantize_graphs import options


@pytest.mark.parametrize("k", [2, 4, 16, 200])
def test_what_a_byte_stands_for_is_what_was_packed_into_it(k: int) -> None:
    table = np.arange(k, dtype=np.float32)
    indices = np.random.default_rng(0).integers(0, k, 101)
    looked_up = codebook.build_lookup_table(table, k)[codebook.pack_indices(indices, k)].reshape(-1)[:101]
    np.testing.assert_array_equal(looked_up, indices)


def test_a_codebook_says_that_it_is_for_the_download_only(digits: ir.Model) -> None:
    _, report = quantize(digits, None, options("codebook:16"))
    assert any("speed is that of float" in line for line in report.warnings)
