"""Weights of what stays in float, stored in int8: smaller, as fast, and computed in float."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.float_weights import get_borne_error, make_variants, store_float_weights
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import kernels, model, samples, weight

CHAIN = """g (float[1,16,12,12] x) => (float[1,16,12,12] y) {
    a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w0)
    b = Relu(a)
    c = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(b, w1)
    d = Relu(c)
    e = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(d, w2)
    y = Relu(e)
}"""


def convolutions() -> ir.Model:
    found = model(CHAIN, **{f"w{i}": weight(16, 16, 3, 3) for i in range(3)})
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    return found


def test_a_layer_in_float_between_int8_ones_stays_float_although_its_weights_are_codes() -> None:
    found = convolutions()
    data = samples(found, 16, 12, 12)
    options = QuantizeOptions(activations="static", float_units=("Conv_c",), float_weights="int8")
    small, report = quantize(found, data, options)
    large, _ = quantize(found, data, QuantizeOptions(activations="static", float_units=("Conv_c",), float_weights="float32"))
    assert report.decision.float_weights == "int8"
    assert len(model_file.to_bytes(small)) < len(model_file.to_bytes(large)) - 2 * weight(16, 16, 3, 3).size
    before, after = kernels(large), kernels(small)
    assert after["Conv"] + after["FusedConv"] == 1
    # what expands the codes is folded when the model is loaded
    assert after == before
    reference = ReferenceOutputs(found, CalibrationFeeds(data), SessionConfig())
    assert reference.error(small) < 2 * reference.error(large) + 1e-4


def test_excluded_layers_and_targets_that_take_int8_from_qdq_alone_keep_their_floats() -> None:
    found = convolutions()
    assert store_float_weights(found, TARGETS["cpu"], ()) is not None
    assert store_float_weights(found, TARGETS["cpu"], ("Conv_.*",)) is None
    assert store_float_weights(found, TARGETS["tensorrt"], ()) is None


@pytest.mark.parametrize(("asked", "given"), [("auto", ["int8", "float16"]), ("int8", ["int8"]), ("float32", ["float32"])])
def test_variants_are_those_asked_for_the_smaller_first(asked: str, given: list[str]) -> None:
    found = convolutions()
    reference = ReferenceOutputs(found, CalibrationFeeds(samples(found, 16, 12, 12)), SessionConfig())
    variants = make_variants(found, reference, {"y": 0.0}, TARGETS["cpu"], QuantizeOptions(float_weights=asked))
    assert [variant.float_weights for variant in variants] == given
    sizes = [len(model_file.to_bytes(variant.model)) for variant in variants]
    assert sizes == sorted(sizes)
    if asked == "auto":
        assert variants[0].worst_error > variants[1].worst_error == 0.0


@pytest.mark.parametrize(
    ("error", "float_error", "is_borne"),
    [(0.0061, 0.005, True), (0.007, 0.005, False), (0.0101, 0.009, False), (0.002, 1e-5, True), (0.003, 1e-5, False)],
)
def test_errors_may_grow_by_little_or_up_to_a_share_of_what_is_allowed(
    error: float, float_error: float, is_borne: bool
) -> None:
    assert (error <= get_borne_error(float_error, 0.01)) is is_borne


def test_what_an_unknown_way_to_store_weights_is_answered_with() -> None:
    found = convolutions()
    with pytest.raises(Exception, match="float_weights int7: unknown"):
        quantize(found, samples(found, 16, 12, 12), QuantizeOptions(float_weights="int7"))
    assert np.isfinite(weight(1)).all()
