"""What the tables of the CPU targets say shows in what is written for them."""

from __future__ import annotations

import numpy as np

from onnxslim.quantization.numerics import saturation
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.quantize_graphs import model, samples, weight


def test_the_target_without_vnni_writes_weights_that_cannot_saturate() -> None:
    text = "g (float[n,64] x) => (float[n,64] y) { a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, w) }"
    found = model(text, w=weight(64, 64))
    options = QuantizeOptions(target="cpu-no-vnni", activations="static", float_units=())
    result, _ = quantize(found, samples(found, 64), options)
    # codes that both layers have alike are written once
    arrays = [value.const_value.numpy() for value in result.graph.initializers.values() if value.const_value is not None]
    codes = [array for array in arrays if array.dtype == np.int8 and array.ndim == 2]
    assert codes
    assert not any(saturation.find_saturating_channels(array, 1).any() for array in codes)
