"""Scales of blocks that are half floats: right with the runtime's optimisation off as well."""

from __future__ import annotations

from collections import Counter

import numpy as np

from onnxslim.data.sources import open_samples
from onnxslim.graph.stored_weights.block_scales import make_block_scales_constant
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.validation.comparison import compare
from tests.support.quantize_graphs import model, weight


def test_a_model_with_half_floats_for_scales_is_compared_as_it_runs() -> None:
    text = "g (float[n,128] x) => (float[n,64] y) { a = MatMul (x, v) \n b = Relu (a) \n y = MatMul (b, w) }"
    found = model(text, v=weight(128, 128), w=weight(128, 64))
    x = np.random.default_rng(0).standard_normal((16, 128)).astype(np.float32)
    samples = open_samples({"x": x}, found)
    options = QuantizeOptions(weights="mixed", weight_formats={"int8:64": ()}, placement="static")
    result, _ = quantize(found, samples, options)
    assert Counter(node.op_type for node in result.graph)["Cast"] == 2  # else there is nothing to show
    wanted = Session(result).run({"x": x})["y"]
    constant = model_file.clone(result)
    make_block_scales_constant(constant)
    assert "Cast" not in {node.op_type for node in constant.graph}
    unoptimized = Session(constant, SessionConfig(optimize=False)).run({"x": x})["y"]
    assert np.abs(unoptimized - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert compare(found, result, samples).outputs["y"].relative < 0.05
