"""What comes before any scheme: patterns that mean something, models that are not quantised yet."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.channel_graphs import model
from tests.support.quantize_graphs import STATIC


def test_a_pattern_that_matches_nothing_names_the_nearest(digits: ir.Model, calib: Samples) -> None:
    with pytest.raises(UsageError, match="matches no node"):
        quantize(digits, calib, QuantizeOptions(exclude=("no_such_layer",)))


def test_a_quantised_model_is_refused(digits: ir.Model, calib: Samples) -> None:
    result, _ = quantize(digits, calib, STATIC)
    with pytest.raises(UnsupportedError, match="quantised already: QDQ"):
        quantize(result, calib, STATIC)


def test_where_only_recurrent_layers_are_left_it_is_said_what_makes_them_smaller() -> None:
    samples = DataOptions().open({"x": np.zeros((8, 5, 2, 6), np.float32)}, net := model(
        "y = GRU<hidden_size=7>(x, w, r)", {"w": (1, 21, 6), "r": (1, 21, 7)},
        inputs="float[5,2,6] x", outputs="float[5,1,2,7] y",
    ))  # fmt: skip
    with pytest.raises(UnsupportedError, match="nothing to quantise") as caught:
        quantize(net, samples, QuantizeOptions())
    assert "--weights int8 stores the weights of GRU in a quarter" in str(caught.value.hint)
