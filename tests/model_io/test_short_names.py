"""Short names: found again by the long ones, and never two for one."""

from __future__ import annotations

import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st
from onnx import parser

from onnxslim.model_io.short_names import MAX_LENGTH, adopt_short_names, restore_names, shorten_name

LONG = [
    "model/dense_1/BiasAdd;model/dense_1/MatMul;model/dense_1/ReadVariableOp",
    "/encoder/layer.0/attention/Add_output_0",
]


@given(st.text(min_size=1, max_size=200))
def test_names_get_no_longer_and_short_ones_stay(name: str) -> None:
    short = shorten_name(name)
    assert short
    assert len(short) <= MAX_LENGTH
    assert short == name or len(name) > MAX_LENGTH
    assert shorten_name(short) == short


def test_the_end_of_the_first_part_is_told() -> None:
    assert [shorten_name(name)[:-5] for name in LONG] == ["e_1/BiasAdd", "tention/Add"]
    assert shorten_name(LONG[0]) != shorten_name(LONG[0] + "x")


def test_tensors_are_called_by_their_long_names_again() -> None:
    short = [shorten_name(name) for name in LONG]
    text = "g (float[4] x) => (float[4] y) { a = Relu (x)  b = Relu (a)  y = Relu (b) }"
    model = ir.from_proto(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}'))
    for value, name in zip([node.outputs[0] for node in model.graph][:2], short, strict=True):
        value.name = name
    restore_names(model, [*LONG, "x", "y", "nowhere to be found in this model"])
    assert [node.outputs[0].name for node in model.graph] == [*LONG, "y"]


def test_another_model_takes_on_the_short_names_that_a_file_has() -> None:
    text = "g (float[4] x) => (float[4] y) { a = Relu (x)  b = Relu (a)  c = Relu (b)  y = Relu (c) }"
    original, file = (
        ir.from_proto(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')) for _ in range(2)
    )
    for model, first in ((original, LONG[0]), (file, shorten_name(LONG[0]))):
        model.graph.node(0).outputs[0].name = first
    original.graph.node(1).outputs[0].name = LONG[1]
    adopt_short_names(original, file)
    assert [node.outputs[0].name for node in original.graph] == [shorten_name(LONG[0]), LONG[1], "c", "y"]
