"""Moments and patches against plain numpy."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.pruning.statistics.im2col import ConvGeometry, unfold
from onnxslim.pruning.statistics.second_moments import SecondMoments, sample_positions
from onnxslim.runtime.session import Session


def rows(n: int, d: int, m: int, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(groups)
    return rng.normal(size=(groups, n, d)), rng.normal(size=(groups, n, m))


def with_ones(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((*x.shape[:2], 1))], axis=2)


@pytest.mark.parametrize("groups", [1, 3])
def test_moments_in_pieces_equal_the_whole(groups: int) -> None:
    x, y = rows(50, 7, 3, groups)
    whole, pieces = SecondMoments(groups, 7, 3), SecondMoments(groups, 7, 3)
    whole.add(x, y)
    for part in np.array_split(np.arange(50), 4):
        pieces.add(x[:, part].astype(np.float32), y[:, part].astype(np.float32))
    assert whole.count == pieces.count == 50
    np.testing.assert_allclose(whole.xx, np.einsum("gnd,gne->gde", with_ones(x), with_ones(x)))
    np.testing.assert_allclose(pieces.yx, np.einsum("gnm,gnd->gmd", y, with_ones(x)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(whole.yy, (y**2).sum(1))
    assert whole.variance() == pytest.approx(float(((y - y.mean(1, keepdims=True)) ** 2).sum()))


def test_adding_moments_is_having_seen_both() -> None:
    x, y = rows(40, 5, 2)
    first, second, both = SecondMoments(1, 5, 2), SecondMoments(1, 5, 2), SecondMoments(1, 5, 2)
    first.add(x[:, :15], y[:, :15])
    second.add(x[:, 15:], y[:, 15:])
    both.add(x, y)
    total = first + second
    assert total.count == 40
    np.testing.assert_allclose(total.xx, both.xx)
    np.testing.assert_allclose(total.yx, both.yx)


def test_sums_of_single_precision_are_exact_to_the_rows_deviations() -> None:
    rng = np.random.default_rng(0)
    x = (1000 + rng.normal(size=(1, 9000, 6))).astype(np.float32)
    moments = SecondMoments(1, 6, 0)
    for part in np.array_split(np.arange(9000), 3):
        moments.add(x[:, part])
    mean = moments.xx[0, -1, :-1] / 9000
    covariance = moments.xx[0, :-1, :-1] / 9000 - np.outer(mean, mean)
    np.testing.assert_allclose(covariance, np.cov(x[0].astype(np.float64).T, bias=True), atol=1e-6)


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


def test_positions_do_not_depend_on_the_batches() -> None:
    whole = sample_positions(49, 10, 0, 12, [0, 3])
    parts = [sample_positions(49, 10, first, 4, [0, 3]) for first in (0, 4, 8)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_positions_are_used_equally_often_and_never_twice_in_a_sample() -> None:
    positions = sample_positions(20, 6, 0, 10, [7])
    assert all(len(set(sample)) == 6 for sample in positions.tolist())
    assert set(np.bincount(positions.ravel(), minlength=20)) == {3}


@pytest.mark.parametrize("size", [1, 4, 10])
def test_a_small_map_is_used_whole(size: int) -> None:
    np.testing.assert_array_equal(sample_positions(size, 10, 5, 2, [0]), np.tile(np.arange(size), (2, 1)))
