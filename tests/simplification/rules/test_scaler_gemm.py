"""A Scaler before a linear layer."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from tests.support.onnx_text import build, fires, floats, rests

RULE = "scaler+gemm"


def scaled(
    tail: str = "y = Gemm (s, w, b)",
    *,
    offset: object = (0.5, -2.0, 0.0, 3.0),
    scale: object = (2.0, 0.5, 1.0, -1.5),
    inputs: str = "float[N,4] x",
    outputs: str = "float[N,5] y",
    **arrays: np.ndarray,
) -> ir.Model:
    """A Scaler of four features and what reads it."""
    found = build(f"({inputs}) => ({outputs}) {{ s = custom.Scaler (x) {tail} }}", **arrays)
    proto = onnx.load_model_from_string(model_file.to_bytes(found))
    node = next(node for node in proto.graph.node if node.op_type == "Scaler")
    node.domain = "ai.onnx.ml"
    node.attribute.extend([onnx.helper.make_attribute("offset", offset), onnx.helper.make_attribute("scale", scale)])
    proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    return model_file.load(proto)


@pytest.mark.parametrize(
    ("tail", "weight"),
    [
        ("y = Gemm (s, w, b)", (4, 5)),
        ("y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (s, w, b)", (5, 4)),
        ("m = MatMul (s, w) y = Add (m, b)", (4, 5)),
    ],
)
def test_it_goes_into_the_weights(tail: str, weight: tuple[int, int]) -> None:
    fires(RULE, scaled(tail, w=floats(*weight), b=floats(5, seed=1)), "Gemm")


def test_one_offset_and_one_scale_stand_for_all_and_a_bias_is_made_where_there_was_none() -> None:
    fires(RULE, scaled("y = Gemm (s, w)", offset=[0.5], scale=[3.0], w=floats(4, 5)), "Gemm")


def test_not_where_the_scaled_features_are_read_elsewhere() -> None:
    tail = "y = Gemm (s, w, b) z = Relu (s)"
    rests(RULE, scaled(tail, outputs="float[N,5] y, float[N,4] z", w=floats(4, 5), b=floats(5)), "read elsewhere")


def test_not_for_features_far_from_zero() -> None:
    """Years, places in meters: a float32 product of them has no digits left for what varies."""
    offset = [0.0, 2.0e6, 0.0, 0.0]
    rests(RULE, scaled(offset=offset, scale=[1.0] * 4, w=floats(4, 5), b=floats(5)), "lose digits")


def test_nearly_a_constant_bias() -> None:
    tail = "c = Mul (b, b) y = Gemm (s, w, c)"
    rests(RULE, scaled(tail, inputs="float[N,4] x, float[5] b", w=floats(4, 5)), "the bias is not constant")


def test_not_where_a_product_of_scale_and_weight_is_infinite() -> None:
    """Features that hardly vary have scales beyond all bounds."""
    found = scaled(offset=[0.0] * 4, scale=[1e30, 1.0, 1.0, 1.0], w=1e10 * floats(4, 5), b=floats(5))
    rests(RULE, found, "leave float32's range")


def test_a_layer_without_outputs_is_no_defect() -> None:
    fires(RULE, scaled("y = Gemm (s, w)", outputs="float[N,0] y", w=floats(4, 0)), "Gemm")
