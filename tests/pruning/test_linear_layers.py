"""Layers as rows and matrices, against the runtime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.model_io import model_file
from onnxslim.pruning import linear_layers
from onnxslim.runtime.session import Session


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[int | str]) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return model_file.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def conv(**attributes: object) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        groups = int(attributes.get("group", 1))  # type: ignore[call-overload]
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)
        return model([node], {"w": normal(6, 4 // groups, 3, 3), "b": normal(6)}, ["n", 4, 9, 8]), normal(5, 4, 9, 8)

    return build


def conv_transpose(**attributes: object) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
        return model([node], {"w": normal(4, 6, 3, 2), "b": normal(6)}, ["n", 4, 9, 8]), normal(5, 4, 9, 8)

    return build


def gemm(**attributes: object) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        weight = normal(3, 7) if attributes.get("transB") else normal(7, 3)
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)
        return model([node], {"w": weight, "b": normal(3)}, ["n", 7]), normal(5, 7)

    return build


def matmul(biased: bool) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h" if biased else "y"])]
        if biased:
            nodes.append(helper.make_node("Add", ["b", "h"], ["y"]))
        constants = {"w": normal(7, 3)} | ({"b": normal(1, 1, 3)} if biased else {})
        return model(nodes, constants, ["n", 6, 7]), normal(5, 6, 7)

    return build


CASES = {
    "conv": conv(pads=[1, 1, 1, 1]),
    "strided, dilated, lopsided": conv(strides=[2, 1], dilations=[1, 2], pads=[0, 1, 2, 1]),
    "grouped": conv(group=2),
    "same upper": conv(auto_pad="SAME_UPPER", strides=[2, 2]),
    "same lower": conv(auto_pad="SAME_LOWER", strides=[2, 3]),
    "valid": conv(auto_pad="VALID"),
    "transposed": conv_transpose(),
    "transposed, strided, dilated, lopsided": conv_transpose(
        strides=[2, 3], dilations=[2, 1], pads=[0, 1, 3, 0], output_padding=[1, 0]
    ),
    "gemm": gemm(),
    "gemm transposed": gemm(transB=1),
    "matmul": matmul(False),
    "matmul and bias": matmul(True),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_times_the_matrix_are_the_layer(case: str) -> None:
    graph, x = CASES[case]()
    (layer,) = linear_layers.find_linear_layers(graph.graph)
    node = list(graph.graph)[layer.position]
    y = Session(graph).run({"x": x})["y"]
    assert layer.output == "y"
    rows, (targets,) = linear_layers.sample_rows(layer, node, x, [y], 4, 0, 7)
    whole = linear_layers.get_matrix(layer, node)
    got = np.einsum("gnd,gmd->gnm", rows, whole[..., :-1]) + whole[:, None, :, -1]
    np.testing.assert_allclose(got, targets, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_assigned_weights_are_what_runs(case: str) -> None:
    graph, x = CASES[case]()
    (layer,) = linear_layers.find_linear_layers(graph.graph)
    node = list(graph.graph)[layer.position]
    before = Session(graph).run({"x": x})["y"]
    whole = linear_layers.get_matrix(layer, node)
    whole[..., :-1] *= 2.0
    whole[..., -1] = 2.0 * whole[..., -1] + layer.has_bias
    linear_layers.set_matrix(layer, node, whole)
    np.testing.assert_allclose(linear_layers.get_matrix(layer, node), whole, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(Session(graph).run({"x": x})["y"], 2 * before + layer.has_bias, rtol=1e-4, atol=1e-4)


def test_a_weight_with_two_readers_is_copied_before_it_changes() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    graph = model(nodes, {"w": normal(4, 4)}, ["n", 4])
    first, second = linear_layers.find_linear_layers(graph.graph)
    kept = linear_layers.get_matrix(second, list(graph.graph)[1])
    linear_layers.set_matrix(first, next(iter(graph.graph)), 3 * kept)
    np.testing.assert_array_equal(linear_layers.get_matrix(second, list(graph.graph)[1]), kept)
    np.testing.assert_allclose(linear_layers.get_matrix(first, next(iter(graph.graph))), 3 * kept)


def test_a_convolution_without_a_bias_gets_one() -> None:
    graph = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": normal(2, 3, 1, 1)}, ["n", 3, 4, 4])
    (layer,) = linear_layers.find_linear_layers(graph.graph)
    node = next(iter(graph.graph))
    whole = linear_layers.get_matrix(layer, node)
    whole[..., -1] = 5.0
    x = normal(2, 3, 4, 4)
    before = Session(graph).run({"x": x})["y"]
    linear_layers.set_matrix(layer, node, whole)
    np.testing.assert_allclose(Session(graph).run({"x": x})["y"], before + 5.0, rtol=1e-5)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5),
        helper.make_node("Gemm", ["x", "w"], ["y"], transA=1),
        helper.make_node("MatMul", ["w", "x"], ["y"]),
    ],
)
def test_what_is_no_plain_layer_is_not_found(node: onnx.NodeProto) -> None:
    assert linear_layers.find_linear_layers(model([node], {"w": normal(4, 4)}, ["n", 4]).graph) == []
