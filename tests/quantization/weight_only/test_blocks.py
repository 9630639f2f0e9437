"""Linear layers in blocks of codes: which fit, and that little is filled up."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.weight_only.blocks import find_block_weights, write_blockwise
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import kernels, model, weight


@pytest.mark.parametrize(("inputs", "fits"), [(128, True), (64, True), (96, True), (250, True), (36, False), (140, False)])
def test_blocks_are_as_large_as_fits_the_inputs(inputs: int, fits: bool) -> None:
    text = f"g (float[4,{inputs}] x) => (float[4,64] y) {{ y = MatMul (x, w) }}"
    found = prepare_model(model(text, w=weight(inputs, 64)))[0]
    result = model_file.clone(found)
    fitting = [linear.name for weight in find_block_weights(result) for linear in weight.linear_layers]
    assert bool(fitting) == fits
    write_blockwise(result, 8, (), fitting)
    assert kernels(result)["MatMulNBits"] == fits
    assert len(model_file.to_bytes(result)) < 0.5 * len(model_file.to_bytes(found))
    feed = {"x": np.random.default_rng(0).standard_normal((4, inputs)).astype(np.float32)}
    wanted, got = (Session(one).run(feed)["y"] for one in (found, result))
    assert np.square(wanted - got).sum() < 1e-3 * np.square(wanted).sum()


def test_only_the_layers_that_are_named_read_blocks() -> None:
    text = "g (float[4,128] x) => (float[4,128] y) { [one] h = MatMul (x, v) \n [two] y = MatMul (h, w) }"
    result = prepare_model(model(text, v=weight(128, 128), w=weight(128, 128)))[0]
    report = write_blockwise(result, 8, (), ["two"])
    assert kernels(result)["MatMulNBits"] == 1
    assert report.changed == {"linear layers in int8 blocks": 1, "weights in int8, expanded at load": 1}


def test_the_scales_of_blocks_are_no_weights_that_were_left_out() -> None:
    result = prepare_model(model("g (float[1,512] x) => (float[1,512] y) { y = MatMul (x, w) }", w=weight(512, 512)))[0]
    report = write_blockwise(result, 8)
    assert (report.changed, report.skipped) == ({"linear layers in int8 blocks": 1}, [])
