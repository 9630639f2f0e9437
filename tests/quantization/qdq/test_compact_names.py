"""Names and declarations of a quantised graph: fewer bytes, the same arithmetic, the outside's names kept."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.model_io.short_names import shorten_name
from onnxslim.quantization.qdq.compact_names import compact, list_names
from onnxslim.runtime.session import Session
from onnxslim.validation.comparison import compare

LONG = "the_name_that_a_framework_gave_to_this_tensor"
TEXT = f"""
<ir_version: 10, opset_import: ["" : 21]>
g (float[n,4] x) => (float[n,4] y, float[n,4] z) <
    float s1 = {{0.5}}, float s2 = {{0.5}}, float s3 = {{0.25}}, int8 zero = {{0}}, int8 nought = {{0}},
    float[4,4] w1q = {{1,0,0,0, 0,2,0,0, 0,0,3,0, 0,0,0,4}}, int8[4,4] {LONG}_w = {{1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}}
> {{
    {LONG}_q = QuantizeLinear (x, s1, zero)
    {LONG}_d = DequantizeLinear ({LONG}_q, s2, nought)
    {LONG}_v = DequantizeLinear ({LONG}_w, s3, nought)
    h = MatMul ({LONG}_d, {LONG}_v)
    k = MatMul (h, w1q)
    {LONG}_o = QuantizeLinear (k, s1, zero)
    y = DequantizeLinear ({LONG}_o, s2, zero)
    z = Mul (h, s3)
}}
"""


@pytest.fixture
def pair() -> tuple[ir.Model, ir.Model]:
    """A quantised graph before and after."""
    before = ir.from_proto(parser.parse_model(TEXT))
    after = model_file.clone(before)
    compact(after)
    return before, after


def test_outputs_are_the_same_bit_for_bit(pair: tuple[ir.Model, ir.Model]) -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    one, two = (Session(model).run(feeds) for model in pair)
    assert list(one) == list(two) == ["y", "z"]
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def test_the_file_is_smaller_and_valid(pair: tuple[ir.Model, ir.Model]) -> None:
    before, after = (model_file.to_bytes(model) for model in pair)
    assert len(after) < 0.8 * len(before)
    onnx.checker.check_model(onnx.load_model_from_string(after), full_check=True)
    assert LONG.encode() not in after


def test_equal_scales_and_zero_points_are_stored_once(pair: tuple[ir.Model, ir.Model]) -> None:
    _, after = pair
    assert sorted(str(name) for name in after.graph.initializers) == ["a1s", "a1z", "s3", "w1q", "w2q"]


def test_what_other_nodes_read_and_what_is_taken_keeps_its_name(pair: tuple[ir.Model, ir.Model]) -> None:
    _, after = pair
    assert {"s3", "w1q"} <= set(after.graph.initializers)
    assert [value.name for value in after.graph.outputs] == ["y", "z"]


def test_what_shape_inference_says_is_not_declared_and_the_rest_is() -> None:
    text = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n,4] x, int64[2] how) => (float[n,4] y) <
    float[n,4] known, float[2,6] given, float s = {0.5}, int8 z = {0}
> {
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    known = Relu (d)
    given = Reshape (known, how)
    y = Reshape (given, how)
}
"""
    model = ir.from_proto(parser.parse_model(text))
    assert "known" in {info.name for info in onnx.load_model_from_string(model_file.to_bytes(model)).graph.value_info}
    compact(model)
    proto = onnx.load_model_from_string(model_file.to_bytes(model))
    assert [info.name for info in proto.graph.value_info] == ["given"]
    assert [dim.dim_value for dim in proto.graph.value_info[0].type.tensor_type.shape.dim] == [2, 6]


def test_long_names_of_a_small_model_are_shortened_but_for_what_goes_in_and_out() -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n,4] {LONG}_in) => (float[n,4] {LONG}_out) <float[4,4] {LONG}_w = {{1,0,0,0, 0,2,0,0, 0,0,3,0, 0,0,0,4}}> {{
        {LONG}_h = MatMul ({LONG}_in, {LONG}_w)
        {LONG}_out = Relu ({LONG}_h)
    }}"""
    before = ir.from_proto(parser.parse_model(text))
    for node in before.graph:
        node.name = f"{LONG}_{node.op_type}"
    after = model_file.clone(before)
    compact(after, list_names(before))
    assert [value.name for value in (*after.graph.inputs, *after.graph.outputs)] == [f"{LONG}_in", f"{LONG}_out"]
    hidden = after.graph[0].outputs[0]
    assert hidden.name == shorten_name(f"{LONG}_h")
    assert [node.name for node in after.graph] == ["", ""]
    feeds = {f"{LONG}_in": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    np.testing.assert_array_equal(Session(before).run(feeds)[f"{LONG}_out"], Session(after).run(feeds)[f"{LONG}_out"])
    compared = compare(before, after, open_samples("random", before), layers=True)
    assert [layer.name for layer in compared.layers] == [f"{LONG}_h", f"{LONG}_out"]


def test_names_that_weigh_little_are_left_as_they_were() -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n,64] x) => (float[n,64] y) {{ {LONG}_h = MatMul (x, {LONG}_w)  y = Relu ({LONG}_h) }}"""
    model = ir.from_proto(parser.parse_model(text.replace("y) {", f"y) <float[1] {LONG}_w = {{1}}> {{")))
    model.graph.initializers[f"{LONG}_w"].const_value = ir.tensor(np.zeros((64, 64), np.float32), name=f"{LONG}_w")
    compact(model, list_names(model))
    assert [node.outputs[0].name for node in model.graph] == [f"{LONG}_h", "y"]
