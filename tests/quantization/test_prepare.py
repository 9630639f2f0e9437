"""What comes before any scheme: patterns that mean something, models that are not quantised yet."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.quantize_graphs import STATIC


def test_a_pattern_that_matches_nothing_names_the_nearest(digits: ir.Model, calib: Samples) -> None:
    with pytest.raises(UsageError, match="matches no node"):
        quantize(digits, calib, QuantizeOptions(exclude=("no_such_layer",)))


def test_a_quantised_model_is_refused(digits: ir.Model, calib: Samples) -> None:
    result, _ = quantize(digits, calib, STATIC)
    with pytest.raises(UnsupportedError, match="quantised already: QDQ"):
        quantize(result, calib, STATIC)
