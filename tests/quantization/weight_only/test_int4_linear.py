"""Linear layers in 4 bits beside static int8: which ones, how well they are rounded, and what stands in the file."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pipeline.step_registry import STEP_REGISTRY, StepContext
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only.int4_linear import find_int4_layers
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, small
from tests.support.quantize_graphs import close, model, weight

INT8 = QuantizeOptions(activations="static", float_units=())
INT4 = QuantizeOptions(activations="static", float_units=(), linear="int4")


@pytest.fixture(scope="module")
def classifier() -> ir.Model:
    """A small classifier whose last layer is most of it."""
    return simplify(
        model(
            """g (float[n,3,16,16] x) => (float[n,400] y) {
            c = Conv<pads = [1, 1, 1, 1]>(x, k)
            r = Relu(c)
            d = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(r, l)
            s = Relu(d)
            m = GlobalAveragePool(s)
            f = Flatten(m)
            y = Gemm<transB = 1>(f, w, b) }""",
            k=weight(32, 3, 3, 3),
            l=weight(96, 32, 3, 3),
            w=weight(400, 96),
            b=weight(400),
        )
    )[0]


@pytest.fixture(scope="module")
def images(classifier: ir.Model) -> Samples:
    rng = np.random.default_rng(1)
    return open_samples({"x": rng.standard_normal((96, 3, 16, 16)).astype(np.float32) + 0.5}, classifier)


def test_the_last_layer_of_a_classifier_goes_into_4_bits_and_little_is_lost(classifier: ir.Model, images: Samples) -> None:
    int8, _ = quantize(classifier, images, INT8)
    result, report = quantize(classifier, images, INT4)
    ops = Counter(node.op_type for node in result.graph)
    assert ops["MatMulNBits"] == 1
    assert ops["Gemm"] == 0
    assert report.changed["linear layers in 4 bits"] == 1
    (layer,) = [one for one in report.details["layers"] if one["op"] == "Gemm"]
    assert layer["why"] == "its weights are in 4 bits"
    saved = len(model_file.to_bytes(int8)) - len(model_file.to_bytes(result))
    assert saved > 0.4 * 400 * 96
    assert compute_cost(result).params == pytest.approx(compute_cost(classifier).params, rel=0.1)
    assert close(classifier, result, images, 25.0)


def test_what_was_decided_gives_the_same_bytes_again(classifier: ir.Model, images: Samples) -> None:
    context = StepContext(images, original=classifier)
    asked = QuantizeOptions(activations="static", placement="static", linear="int4")
    result, _, resolved = STEP_REGISTRY["quantize"].apply(classifier, asked, context)
    again, _, same = STEP_REGISTRY["quantize"].apply(classifier, resolved, context)
    assert resolved.linear == "int4"
    assert resolved.float_units is not None
    assert same == resolved
    assert model_file.to_bytes(again) == model_file.to_bytes(result)


def test_a_bias_that_is_computed_is_kept_and_its_layer_in_8_bits(images: Samples) -> None:
    computed = model(
        """g (float[n,3,16,16] x) => (float[n,400] y) {
        m = GlobalAveragePool(x)
        f = Flatten(m)
        c = ReduceMean<axes = [1], keepdims = 1>(f)
        y = Gemm<transB = 1>(f, w, c) }""",
        w=weight(400, 3),
    )
    assert find_int4_layers(computed) == []


def test_only_large_layers_that_see_one_row_are_suited(classifier: ir.Model) -> None:
    assert len(find_int4_layers(classifier)) == 1
    assert find_int4_layers(classifier, [".*"]) == []
    assert find_int4_layers(small()) == []  # a transformer reads each weight once a token


def test_a_model_without_such_layers_is_int8_and_that_is_said() -> None:
    text = "g (float[n,4,8,8] x) => (float[n,16,8,8] y) { y = Conv<pads = [1, 1, 1, 1]>(x, w) }"
    found = model(text, w=weight(16, 4, 3, 3))
    images = open_samples({"x": np.random.default_rng(2).standard_normal((8, 4, 8, 8)).astype(np.float32)}, found)
    report = quantize(found, images, INT4)[1]
    assert "linear layers in 4 bits" in {one.node for one in report.skipped}
    assert report.changed["layers in int8"] == 1


def test_where_it_cannot_be_it_says_what_can() -> None:
    transformer = small()
    with pytest.raises(UsageError, match="--linear int4 goes with static int8") as refused:
        quantize(transformer, data(transformer), QuantizeOptions(linear="int4", activations="dynamic"))
    assert "--weights int4" in str(refused.value.hint)
    with pytest.raises(UsageError, match="--linear int3: unknown"):
        quantize(transformer, data(transformer), QuantizeOptions(linear="int3"))
