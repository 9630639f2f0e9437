"""Equalisation moves scale between layers and changes no output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.static.cross_layer_equalization import equalize, find_equalization_groups
from onnxslim.runtime.session import Session
from tests.support.digits import feeds
from tests.support.onnx_text import build, floats


def test_equalising_changes_weights_and_no_output(digits: ir.Model) -> None:
    work = model_file.clone(digits)
    shapes.infer(work)
    names = [name for stream in find_equalization_groups(work) for name in stream.tensors]
    assert names
    chosen = equalize(work, observe.collect_channel_statistics(work, feeds(16), names))
    assert chosen
    for feed in feeds(16):
        for name, array in Session(digits).run(feed).items():
            np.testing.assert_allclose(Session(work).run(feed)[name], array, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("axes", "widths", "homogeneous"), [([2, 3], [1] * 4, True), ([-1], [1, 1], True), ([1], [0, 4], False)]
)
def test_a_pad_that_names_axes_is_crossed_where_channels_are_not_padded(
    axes: list[int], widths: list[int], homogeneous: bool
) -> None:
    text = """(float[N,4,6,6] x) => (float[N,4,A,B] y) {
        a = Conv (x, w) r = Relu (a) p = Pad (r, k, , axes) y = Conv (p, v) }"""
    channels = 4 if homogeneous else 8
    arrays = {"k": np.asarray(widths), "axes": np.asarray(axes), "w": floats(4, 4, 1, 1), "v": floats(4, channels, 1, 1)}
    model = build(text, opset=18, **arrays)
    shapes.infer(model)
    assert bool(list(find_equalization_groups(model))) == homogeneous
