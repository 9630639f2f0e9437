"""Models of one linear layer of every kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from tests.support import node_graphs


def build_model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[int | str]) -> ir.Model:
    return node_graphs.build(nodes, {"x": shape}, {"y": [None] * len(shape)}, constants)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def conv(**attributes: object) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        groups = int(attributes.get("group", 1))  # type: ignore[call-overload]
        node = helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)
        return build_model([node], {"w": normal(6, 4 // groups, 3, 3), "b": normal(6)}, ["n", 4, 9, 8]), normal(5, 4, 9, 8)

    return build


def conv_transpose(**attributes: object) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
        return build_model([node], {"w": normal(4, 6, 3, 2), "b": normal(6)}, ["n", 4, 9, 8]), normal(5, 4, 9, 8)

    return build


def gemm(**attributes: object) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        weight = normal(3, 7) if attributes.get("transB") else normal(7, 3)
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], **attributes)
        return build_model([node], {"w": weight, "b": normal(3)}, ["n", 7]), normal(5, 7)

    return build


def matmul(biased: bool) -> Callable[[], tuple[ir.Model, np.ndarray]]:
    def build() -> tuple[ir.Model, np.ndarray]:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h" if biased else "y"])]
        if biased:
            nodes.append(helper.make_node("Add", ["b", "h"], ["y"]))
        constants = {"w": normal(7, 3)} | ({"b": normal(1, 1, 3)} if biased else {})
        return build_model(nodes, constants, ["n", 6, 7]), normal(5, 6, 7)

    return build


#: Layers of every kind by name: a function that makes the model, x -> y, and an input for it.
LAYER_MODELS = {
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
