"""What a convolution's attributes say, against the runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from onnxslim.graph.conv_geometry import is_plain_transpose, prepare_input
from onnxslim.graph.layers import CONV_OPS, LinearLayer
from onnxslim.runtime.session import Session
from tests.support.layer_models import LAYER_MODELS, build_model, normal

CONVOLUTIONS = [name for name, build in LAYER_MODELS.items() if build()[0].graph[0].op_type in CONV_OPS]


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_geometry_has_the_output_that_the_runtime_has(case: str) -> None:
    model, x = LAYER_MODELS[case]()
    prepared, geometry = prepare_input(model.graph[0], x)
    assert geometry.output_shape(prepared.shape[2:]) == Session(model).run({"x": x})["y"].shape[2:]


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_one_element_reaches_the_outputs_whose_patches_hold_it(case: str) -> None:
    model, x = LAYER_MODELS[case]()
    layer = LinearLayer(model.graph[0])
    layer.assign(np.ones_like(layer.matrix()))
    x = np.zeros_like(x[:1])
    x[0, 0, 4, 3] = 1.0
    reached = Session(model).run({"x": x})["y"][0, 0] > 1.5
    prepared, geometry = prepare_input(model.graph[0], x)
    padded = np.pad(prepared[0, 0], list(zip(geometry.begins, geometry.ends, strict=True)))
    for position in np.ndindex(reached.shape):
        corner = [p * s for p, s in zip(position, geometry.strides, strict=True)]
        spans = [
            slice(c, c + d * (k - 1) + 1, d) for c, d, k in zip(corner, geometry.dilations, geometry.kernel, strict=True)
        ]
        assert reached[position] == padded[tuple(spans)].any()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, True),
        ({"pads": [2, 1, 2, 1]}, True),
        ({"pads": [3, 0, 0, 0]}, False),
        ({"pads": [3, 0, 0, 0], "dilations": [2, 1]}, True),
        ({"auto_pad": "VALID"}, True),
        ({"auto_pad": "SAME_UPPER"}, False),
        ({"output_shape": [10, 9]}, False),
        ({"group": 2}, False),
    ],
)
def test_a_transposed_convolution_is_plain_unless_it_crops_or_has_groups(attributes: dict, expected: bool) -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    model = build_model([node], {"w": normal(4, 6, 3, 2)}, ["n", 4, 9, 8])
    assert is_plain_transpose(model.graph[0]) == expected
