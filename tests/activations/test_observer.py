"""What is observed of inner tensors is what a plain run of the model makes of them, in the order of the feeds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxslim.activations.observer import ObservedModel, observe, sum_channels
from onnxslim.graph.signature import tap_outputs
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import nets
from tests.support.quantize_graphs import model

CONFIG = SessionConfig()


def test_every_tensor_of_every_feed_is_measured_once_and_in_order() -> None:
    found, names = nets.mlp(), []
    names = [str(node.outputs[0].name) for node in found.graph]
    feeds = [dict(batch) for batch in nets.samples(found, 9).batches(2)]
    measured = observe(found, [*names, *names], feeds, lambda index, name, array: (index, name, array.copy()), CONFIG)
    session = Session(tap_outputs(found, names), CONFIG)
    assert list(measured) == names
    for index, feed in enumerate(feeds):
        for name, array in session.run(feed).items():
            if name in names:
                number, called, seen = measured[name][index]
                assert (number, called) == (index, name)
                np.testing.assert_allclose(seen, array, rtol=1e-6, atol=1e-6)


def test_nothing_is_measured_where_nothing_is_named() -> None:
    assert observe(nets.mlp(), [], iter([]), lambda *_: 0, CONFIG) == {}


@given(hnp.arrays(np.float32, (6, 3, 4), elements=st.floats(-100, 100, width=32)), st.integers(0, 2), st.integers(1, 5))
def test_sums_of_channels_add_up_over_batches(array: np.ndarray, axis: int, cut: int) -> None:
    values = np.moveaxis(array.astype(np.float64), axis, 0).reshape(array.shape[axis], -1)
    expected = [[values.shape[1]] * len(values), values.sum(1), (values**2).sum(1)]
    np.testing.assert_allclose(sum_channels(array, axis), expected, rtol=1e-12, atol=1e-9)
    if axis:
        parts = sum_channels(array[:cut], axis) + sum_channels(array[cut:], axis)
        np.testing.assert_allclose(parts, expected, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("keep", [False, True])
def test_tensors_are_reduced_inside_the_graph(opset: int, keep: bool) -> None:
    found = model("g (float[2,3,4] x) => (float[2,3,4] y) { r = Relu (x)\n y = Neg (r) }")
    found.opset_imports[""] = found.graph.opset_imports[""] = opset
    observed = ObservedModel(found, keep_outputs=keep)
    value, offset = observed.values["r"], observed.add_input("offset", [1])
    observed.add_output(observed.append_reduction("ReduceMax", value, [0, 2]), "peaks", value.dtype)
    total = observed.append_reduction("ReduceSum", value)
    observed.add_output(observed.append("Add", total, offset), "total", None)
    sizes = observed.append("Mul", observed.append("Shape", value), [2])
    observed.add_output(observed.append("Concat", sizes, [7], axis=0), "sizes", ir.DataType.INT64)
    observed.add_output(sizes, "only_sizes", ir.DataType.INT64)
    arrays = np.random.default_rng(0).standard_normal((3, 2, 3, 4)).astype(np.float32)
    feeds = [{"x": array, "offset": np.array([5], np.float32)} for array in arrays]
    results = list(observed.run(feeds, lambda index, outputs: (index, outputs), CONFIG))
    assert [index for index, _ in results] == [0, 1, 2]
    for array, (_, outputs) in zip(arrays, results, strict=True):
        assert set(outputs) == {"peaks", "total", "sizes", "only_sizes"} | ({"y"} if keep else set())
        np.testing.assert_array_equal(outputs["peaks"], np.maximum(array, 0).max(axis=(0, 2)))
        np.testing.assert_allclose(outputs["total"], [np.maximum(array, 0).sum() + 5], rtol=1e-6)
        assert outputs["sizes"].tolist() == [4, 6, 8, 7]
    assert [node.op_type for node in found.graph] == ["Relu", "Neg"], "the model itself is left alone"
