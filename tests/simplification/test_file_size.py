"""No file grows."""

from __future__ import annotations

import numpy as np

from onnxslim.model_io import model_file
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.onnx_text import build


def test_a_file_that_would_grow_is_left_as_it_was() -> None:
    """A tiny graph where a constant takes more bytes than the nodes it replaces."""
    text = "(float[N,4] x) => (float[N,4] y) { k = ConstantOfShape <value = float[1] {3.0}> (s) y = Add (x, k) }"
    model = build(text, s=np.asarray([60, 1, 4], np.int64)[1:])
    result, _ = simplify(model, SimplifyOptions(max_fold_bytes=0))
    assert len(model_file.to_bytes(result)) <= 1.02 * len(model_file.to_bytes(model))


def test_no_file_of_a_hundred_bytes_grows_either() -> None:
    """Where a rewrite of one node costs more bytes than estimates tell apart, the model is left alone."""
    model = build("(float[N,1,1,1] x) => (float[N,1] y) { y = ReduceMean <axes = [2, 3], keepdims = 0> (x) }", opset=16)
    result, _ = simplify(model)
    assert len(model_file.to_bytes(result)) <= 1.02 * len(model_file.to_bytes(model))
