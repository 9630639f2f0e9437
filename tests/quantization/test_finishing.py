"""What comes behind any scheme."""

from __future__ import annotations

from onnxslim.model_io import model_file
from onnxslim.quantization.finishing import finish
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.compact_names import list_names
from tests.support.quantize_graphs import model, weight

TEXT = "g (float[n,64] x) => (float[n,64] y) { y = Gemm (x, w, b) }"


def test_floats_are_stored_in_half_floats_unless_they_are_to_stay() -> None:
    sizes = {}
    for float_weights in ("auto", "float32"):
        found = model(TEXT, w=weight(64, 64), b=weight(64))
        finish(found, list_names(found), QuantizeOptions(target="cpu", float_weights=float_weights), "weights")
        sizes[float_weights] = len(model_file.to_bytes(found))
    assert sizes["auto"] < 0.6 * sizes["float32"]


def test_half_floats_of_the_float16_scheme_are_not_touched() -> None:
    found = model(TEXT, w=weight(64, 64), b=weight(64))
    before = len(model_file.to_bytes(found))
    assert not finish(found, list_names(found), QuantizeOptions(target="cpu"), "float16").changed
    assert len(model_file.to_bytes(found)) > 0.95 * before
