"""Patches times a weight are the convolution, and a transposed one is a plain one over zeros."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve, correlate

from onnxslim.graph.im2col import ConvGeometry, insert_zeros, mirror_kernel, unfold
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


def test_patches_of_channel_groups_times_their_weights_are_the_grouped_convolution() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 9, 8)), rng.normal(size=(4, 3, 3, 3))
    padded = np.pad(x, ((0, 0), (1, 1), (2, 2)))
    expected = np.zeros((4, 5, 8))
    for out in range(4):
        for c in range(3):
            kernel = np.zeros((3, 5))
            kernel[:, ::2] = w[out, c]
            expected[out] += correlate(padded[3 * (out // 2) + c], kernel, "valid")[::2]
    patches = unfold(x[None], ConvGeometry((3, 3), (2, 1), (1, 2), (1, 2), (1, 2)), np.arange(40)[None])
    got = np.einsum("pgd,god->gop", patches.reshape(40, 2, -1), w.reshape(2, 2, -1)).reshape(4, 5, 8)
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_a_transposed_convolution_is_a_plain_one_over_zeros_with_its_kernel_turned_around() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(1, 2, 4, 5)), rng.normal(size=(2, 3, 3, 2))
    stuffed = insert_zeros(x, (2, 3))
    np.testing.assert_array_equal(stuffed[:, :, ::2, ::3], x)
    assert stuffed.shape == (1, 2, 7, 13)
    assert np.count_nonzero(stuffed) == x.size
    geometry = ConvGeometry((3, 2), (1, 1), (1, 1), (2, 1), (2, 1))
    size = int(np.prod(geometry.output_shape(stuffed.shape[2:])))
    patches = unfold(stuffed, geometry, np.arange(size)[None])
    plain = mirror_kernel(w)
    np.testing.assert_array_equal(mirror_kernel(plain), w)
    got = np.einsum("npck,mck->nmp", patches, plain.reshape(3, 2, -1)).reshape(3, 9, 14)
    expected = [sum(convolve(stuffed[0, c], w[c, m], "full") for c in range(2)) for m in range(3)]
    np.testing.assert_allclose(got, expected, atol=1e-10)
