"""Layers as matrices, against the runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.runtime.session import Session
from tests.support.layer_models import LAYER_MODELS, build_model, normal


def _find_changed_channels(case: str, axis: int) -> set[int]:
    """The channels of y that change with the weight's second slice along ``axis``."""
    graph, x = LAYER_MODELS[case]()
    (layer,) = find_linear_layers(graph.graph).values()
    before = Session(graph).run({"x": x})["y"]
    weight = layer.weight.copy()
    np.moveaxis(weight, axis, 0)[1] += 1.0
    layer.assign_weight(weight)
    changed = np.moveaxis(Session(graph).run({"x": x})["y"] != before, 1 if layer.weight.ndim > 2 else -1, 0)
    return set(np.flatnonzero(changed.reshape(len(changed), -1).any(axis=1)).tolist())


@pytest.mark.parametrize("case", LAYER_MODELS)
def test_outputs_lie_on_one_axis_of_the_weight_and_inputs_on_the_other(case: str) -> None:
    (layer,) = find_linear_layers(LAYER_MODELS[case]()[0].graph).values()
    assert layer.output.name == "y"
    assert _find_changed_channels(case, layer.output_axis) == {1}
    assert _find_changed_channels(case, layer.input_axis) == set(range(layer.outputs))
    assert layer.output_first.shape[0] == layer.outputs
    np.testing.assert_array_equal(layer.as_stored(layer.output_first), layer.weight)
    assert layer.matrix().shape == (layer.groups, layer.outputs // layer.groups, layer.columns + 1)
    assert layer.columns == layer.weight.shape[layer.input_axis] * layer.kernel_size


def test_a_transposed_convolution_has_the_outputs_of_all_its_groups() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=2)
    graph = build_model([node], {"w": normal(4, 3, 2, 2)}, ["n", 4, 5, 5])
    assert find_linear_layers(graph.graph) == {}
    assert LinearLayer(graph.graph[0]).outputs == Session(graph).run({"x": normal(1, 4, 5, 5)})["y"].shape[1]


@pytest.mark.parametrize(("group", "outputs", "expected"), [(4, 4, True), (4, 8, False), (2, 4, False), (1, 1, False)])
def test_depthwise_is_one_input_and_one_output_a_group(group: int, outputs: int, expected: bool) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=group)
    graph = build_model([node], {"w": normal(outputs, 4 // group, 3, 3)}, ["n", 4, 5, 5])
    assert LinearLayer(graph.graph[0]).is_depthwise == expected


@pytest.mark.parametrize("case", LAYER_MODELS)
def test_assigned_weights_are_what_runs(case: str) -> None:
    graph, x = LAYER_MODELS[case]()
    (layer,) = find_linear_layers(graph.graph).values()
    before = Session(graph).run({"x": x})["y"]
    whole = layer.matrix()
    whole[..., :-1] *= 2.0
    whole[..., -1] = 2.0 * whole[..., -1] + layer.has_bias
    layer.assign(whole)
    np.testing.assert_allclose(layer.matrix(), whole, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(Session(graph).run({"x": x})["y"], 2 * before + layer.has_bias, rtol=1e-4, atol=1e-4)


def test_a_weight_with_two_readers_is_copied_before_it_changes() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    first, second = find_linear_layers(build_model(nodes, {"w": normal(4, 4)}, ["n", 4]).graph).values()
    kept = second.matrix()
    first.assign(3 * kept)
    np.testing.assert_array_equal(second.matrix(), kept)
    np.testing.assert_allclose(first.matrix(), 3 * kept)


def test_a_convolution_without_a_bias_gets_one() -> None:
    graph = build_model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": normal(2, 3, 1, 1)}, ["n", 3, 4, 4])
    (layer,) = find_linear_layers(graph.graph).values()
    whole = layer.matrix()
    whole[..., -1] = 5.0
    x = normal(2, 3, 4, 4)
    before = Session(graph).run({"x": x})["y"]
    layer.assign(whole)
    np.testing.assert_allclose(Session(graph).run({"x": x})["y"], before + 5.0, rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (1, 3), (4, 3)])
def test_only_a_vector_over_the_outputs_is_the_bias_of_a_matmul(shape: tuple[int, ...]) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    graph = build_model(nodes, {"w": normal(5, 3), "b": normal(*shape)}, ["n", 5])
    is_bias = shape == (1, 3)
    layer = LinearLayer(graph.graph[0])
    assert layer.has_bias == is_bias
    assert layer.output.name == ("y" if is_bias else "h")


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5),
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        helper.make_node("MatMul", ["w", "x"], ["y"]),
    ],
)
def test_what_is_no_plain_layer_is_not_found(node: onnx.NodeProto) -> None:
    assert find_linear_layers(build_model([node], {"w": normal(4, 4)}, ["n", 4]).graph) == {}
