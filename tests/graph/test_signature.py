"""What a model takes and gives can be changed, and the rest still computes what it did."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.core.errors import UsageError
from onnxslim.graph import shapes, signature
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from tests.support.digits import FEED
from tests.support.listed_weights import X, listed
from tests.support.small_graphs import CONV, model

TWO = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,4] a, float[n,4] b) => (float[n,4] y) {
  s = Add(a, b)
  r = Relu(s)
  y = Neg(r)
}"""
A, B = np.float32([[1, -2, 3, -4]]), np.float32([[1, 1, 1, 1]])


def test_a_tensor_inside_becomes_the_output_and_what_only_others_needed_goes() -> None:
    net = model(TWO)
    signature.set_outputs(net, {"s": None})
    assert [node.op_type for node in net.graph] == ["Add"]
    np.testing.assert_array_equal(Session(net).run({"a": A, "b": B})["s"], A + B)


def test_a_tensor_inside_becomes_the_input_and_what_made_it_goes() -> None:
    net = model(TWO)
    signature.set_inputs(net, {"s": None})
    assert [value.name for value in net.graph.inputs] == ["s"]
    np.testing.assert_array_equal(Session(net).run({"s": A})["y"], -np.maximum(A, 0))


def test_an_input_that_is_no_tensor_stays_what_it_is() -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 4])
    kinds = {
        "a": helper.make_sequence_type_proto(floats),
        "b": helper.make_optional_type_proto(floats),
        "c": helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])),
        "d": helper.make_tensor_type_proto(TensorProto.STRING, ["n"]),
        "e": floats,
    }
    inputs = [helper.make_value_info(name, kind) for name, kind in kinds.items()]
    graph = helper.make_graph([helper.make_node("Relu", ["e"], ["y"])], "g", inputs, [helper.make_value_info("y", floats)])
    net = model_file.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    signature.set_inputs(net, dict.fromkeys(kinds))
    written = onnx.load_from_string(model_file.to_bytes(net)).graph.input
    assert {value.name: value.type for value in written} == kinds


def test_an_output_of_another_type_is_cast_and_keeps_its_name() -> None:
    net = model(TWO)
    signature.set_outputs(net, {"y": ir.DataType.FLOAT16})
    found = Session(net).run({"a": A, "b": B})["y"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, -np.maximum(A + B, 0))


def test_inputs_that_are_still_needed_and_tensors_that_are_not_there_are_named() -> None:
    with pytest.raises(UsageError, match="need input b as well"):
        signature.set_inputs(model(TWO), {"a": None})
    with pytest.raises(UsageError, match="no tensor t"):
        signature.set_outputs(model(TWO), {"t": None})


def test_fixed_inputs_fix_what_follows_and_minus_one_leaves_a_dimension() -> None:
    net = model(CONV)
    signature.set_input_shapes(net, {"x": [-1, 3, 8, 8]})
    assert shapes.get_dims(net.graph.inputs[0]) == ("batch", 3, 8, 8)
    assert shapes.get_dims(net.graph.outputs[0]) == ("batch", 8, 4, 4)
    with pytest.raises(UsageError, match="expected one like"):
        signature.set_input_shapes(net, {"x": [1, 3]})


def test_a_tap_shows_an_inner_tensor_and_changes_nothing(digits: ir.Model) -> None:
    inner = next(node.outputs[0] for node in digits.graph if node.op_type == "Conv")
    outputs = Session(signature.tap_outputs(digits, [str(inner.name)])).run(FEED)
    shown = outputs[digits.graph.outputs[0].name or ""]
    np.testing.assert_array_equal(shown, next(iter(Session(digits).run(FEED).values())))
    alone = Session(signature.tap_outputs(digits, [str(inner.name)], only=True))
    assert alone.outputs == [inner.name]


@pytest.mark.parametrize(
    ("ir_version", "kept", "left", "named"),
    [
        (6, (), ["x"], ["w1", "b1", "w2", "shape", "gain"]),
        (6, ("gain",), ["x", "gain"], ["w1", "b1", "w2", "shape"]),
        (3, ("gain",), ["x"], []),
    ],
)
def test_initializers_that_are_inputs_too_become_constants(
    ir_version: int, kept: tuple[str, ...], left: list[str], named: list[str]
) -> None:
    net = model_file.load(listed(ir_version))
    before = Session(net).run({"x": X[:4]})["y"]
    assert signature.freeze_initializer_inputs(net, kept) == named
    assert signature.list_input_names(net) == left
    assert signature.freeze_initializer_inputs(net, kept) == []
    np.testing.assert_array_equal(Session(net).run({"x": X[:4]})["y"], before)


def test_what_was_frozen_is_told_in_a_line_with_its_number() -> None:
    assert signature.describe_frozen_inputs([]) == []
    assert signature.describe_frozen_inputs(["w"])[0].startswith("1 weight was listed as an input too and is a constant now")
    assert signature.describe_frozen_inputs(["w", "b"])[0].startswith("2 weights were listed as inputs too and are")


def test_what_is_said_of_inputs_and_outputs_comes_back_but_for_numbers_that_were_wrong() -> None:
    net = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[m,9] y, float[n,4] z) { y = Relu(x)
    z = Neg(y) }""")
    net.graph.inputs[0].shape = net.graph.outputs[1].shape = None
    declared = signature.list_declared(net)
    signature.lend_ranks(net, {"x": 2, "other": 3})
    assert shapes.get_dims(net.graph.inputs[0]) == (None, None)
    for value, dims in zip(net.graph.outputs, [("invented", 4), ("n", 4)], strict=True):
        value.shape = ir.Shape(dims)
    signature.restore_declared(net, declared)
    assert [shapes.get_dims(value) for value in (*net.graph.inputs, *net.graph.outputs)] == [None, ("m", 4), None]
