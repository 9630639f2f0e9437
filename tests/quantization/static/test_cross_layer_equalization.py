"""Equalisation moves scale between layers and changes no output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.static.cross_layer_equalization import equalize, find_equalization_groups
from onnxslim.runtime.session import Session
from tests.support.digits import feeds


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
