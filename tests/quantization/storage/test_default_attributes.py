"""Attributes that are defaults are left out, and nothing else is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.storage.default_attributes import drop_default_attributes
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

TEXT = """g (float[n,4,8,8] x) => (float[n,3] y) {
    a = Conv <dilations = [1,1], group = 1, kernel_shape = [3,3], pads = [1,1,1,1], strides = [1,1]> (x, w)
    b = Conv <dilations = [2,2], group = 4, kernel_shape = [3,3], pads = [0,0,0,0], auto_pad = "NOTSET"> (a, d)
    c = MaxPool <kernel_shape = [4,4], strides = [1,1], ceil_mode = 0> (b)
    e = LeakyRelu <alpha = 0.01> (c)
    f = Flatten <axis = 1> (e)
    h = Softmax <axis = -1> (f)
    y = Gemm <alpha = 1.0, beta = 0.5, transA = 0, transB = 1> (h, g, k)
}"""


def build() -> ir.Model:
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 4, 3, 3), "d": (4, 1, 3, 3), "g": (3, 4), "k": (3,)}
    return model(TEXT, **{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})


def test_what_is_left_says_something_and_the_outputs_keep_their_bits() -> None:
    before = build()
    after = model_file.clone(before)
    drop_default_attributes(after)
    assert [sorted(node.attributes) for node in after.graph] == [
        ["kernel_shape", "pads"], ["dilations", "group", "kernel_shape"], ["kernel_shape"], [], [], [], ["beta", "transB"],
    ]  # fmt: skip
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 4, 8, 8)).astype(np.float32)}
    np.testing.assert_array_equal(Session(after).run(feeds)["y"], Session(before).run(feeds)["y"])
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(after)), full_check=True)


@pytest.mark.parametrize("opset", [12, 13])
def test_a_default_is_that_of_the_graphs_opset(opset: int) -> None:
    found = model("g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax <axis = 1> (x) }")
    found.graph.opset_imports[""] = opset
    drop_default_attributes(found)
    assert bool(found.graph[0].attributes) == (opset == 13)


@pytest.mark.parametrize("op", ["LayerNormalization", "SimplifiedLayerNormalization"])
def test_an_op_that_the_standard_does_not_have_at_this_opset_stays_as_it_is(op: str) -> None:
    found = model(f"g (float[2,4] x, float[4] s) => (float[2,4] y) {{ y = {op} <axis = -1> (x, s) }}")
    found.graph.opset_imports[""] = 14
    drop_default_attributes(found)
    assert list(found.graph[0].attributes) == ["axis"]
