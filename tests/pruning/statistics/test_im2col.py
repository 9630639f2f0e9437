"""Patches times the weight are the convolution."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.pruning.statistics.im2col import ConvGeometry, unfold
from onnxslim.runtime.session import Session


def convolution(weight: np.ndarray, window: ConvGeometry, spatial: int) -> Session:
    shape = ir.Shape(["n", weight.shape[1], *["s"] * spatial])
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
    w = ir.Value(name="w", const_value=ir.tensor(weight, name="w"))
    attributes = {
        "strides": window.strides,
        "dilations": window.dilations,
        "pads": (*window.begins, *window.ends),
        "kernel_shape": window.kernel,
    }
    node = ir.node("Conv", [x, w], attributes={k: list(v) for k, v in attributes.items()})
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], [node.outputs[0]], nodes=[node], initializers=[w], opset_imports={"": 17}, name="conv")
    return Session(ir.Model(graph, ir_version=8))


@settings(max_examples=25, deadline=None)
@given(data=st.data(), spatial=st.integers(1, 3))
def test_patches_times_the_weight_are_the_convolution(data: st.DataObject, spatial: int) -> None:
    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.lists(st.integers(low, high), min_size=spatial, max_size=spatial)))

    window = ConvGeometry(sizes(1, 3), sizes(1, 3), sizes(1, 2), sizes(0, 2), sizes(0, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    x = rng.normal(size=(3, 2, *sizes(5, 7))).astype(np.float32)
    weight = rng.normal(size=(4, 2, *window.kernel)).astype(np.float32)
    expected = convolution(weight, window, spatial).run({"x": x})["y"]
    assert expected.shape[2:] == window.output_shape(x.shape[2:])
    size = int(np.prod(expected.shape[2:]))
    positions = rng.integers(0, size, (3, 5))
    patches = unfold(x, window, positions)
    got = np.einsum("npck,mck->npm", patches, weight.reshape(4, 2, -1))
    wanted = np.take_along_axis(expected.reshape(3, 4, size), positions[:, None, :], axis=2).transpose(0, 2, 1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
