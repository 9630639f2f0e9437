"""Before and after the rewrites: functions inlined, names, types and versions kept."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import assume, given, settings
from onnx import helper

from onnxslim.core.errors import OnnxslimError
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.simplification.step import simplify
from tests.support.equality import assert_simplified, run, same
from tests.support.nested_scopes import feeds_of_scopes, nested_scopes
from tests.support.onnx_text import ROOM, build, equal, fires, floats


def test_a_function_is_inlined_and_then_simplified() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
    test (float[N,4] x) => (float[N,4] y) { a = local.twice (x) b = local.twice (a) y = Relu (b) }
    <opset_import: ["" : 17], domain: "local"> twice (v) => (w) { k = Constant <value = float {2.0}> () w = Mul (v, k) }
    """
    model = model_file.load(onnx.parser.parse_model(text))
    result, report = simplify(model)
    assert not result.functions
    assert report.changed["functions inlined"] == 1
    assert [node.op_type for node in result.graph] == ["Mul", "Relu"]
    equal(model, result)


def test_a_function_that_cannot_be_inlined_is_a_barrier() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
    test (float[N,4] x) => (float[N,4] y) { a = local.f (x) b = Identity (a) y = local.f (b) }
    <opset_import: ["" : 18], domain: "local"> f (v) => (w) { w = Relu (v) }
    """
    result, report = simplify(onnx.parser.parse_model(text))
    assert [node.op_type for node in result.graph] == ["f", "f"]
    assert any("functions are not inlined" in skipped.reason for skipped in report.skipped)


def test_what_pytorchs_exporter_notes_of_its_own_work_goes_and_the_rest_stays() -> None:
    model = build("(float[N] x) => (float[N] y) { a = Relu (x) y = Sin (a) }")
    model.graph.metadata_props["pkg.torch.export.ExportedProgram.graph_signature"] = "p_w: PARAMETER target='w'"
    model.graph.metadata_props["pkg.torch.export.ExportedProgram.range_constraints"] = "{s0: VR[0, 512]}"
    for node in model.graph:
        node.metadata_props["pkg.torch.onnx.stack_trace"] = "File ..."
        node.metadata_props["author"] = "me"
    result, _ = simplify(model)
    assert list(result.graph.metadata_props) == ["pkg.torch.export.ExportedProgram.range_constraints"]
    assert [dict(node.metadata_props) for node in result.graph] == [{"author": "me"}] * 2


def test_names_dimensions_and_metadata_are_kept() -> None:
    model = build(
        "(float[batch,c] first, float[batch,c] second) => (float[batch,c] sum, float[rows,columns] product) {"
        " a = Identity (first) b = Identity (second) sum = Add (a, b) p = Mul (a, b) product = Identity (p) }"
    )
    model.metadata_props["licence"] = "of the author"
    model.producer_name, model.doc_string = "someone", "what it is"
    model.graph.doc_string = "how it is"
    model.graph.inputs[0].doc_string = "an input"
    result, _ = simplify(model)
    assert_simplified(model, result)
    assert [str(value.shape) for value in result.graph.outputs] == ["[batch,c]", "[rows,columns]"]
    assert (result.producer_name, result.doc_string) == ("someone", "what it is")
    assert result.graph.doc_string == "how it is"
    assert result.graph.inputs[0].doc_string == "an input"


def test_annotations_of_the_author_stay_and_none_are_added() -> None:
    proto = model_file.to_bytes(build("(float[N,4] x) => (float[N,4] y) { a = Exp (x) b = Neg (a) y = Relu (b) }"))
    model = onnx.load_model_from_string(proto)
    model.graph.value_info.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, ["N", 4]))
    after = onnx.load_model_from_string(model_file.to_bytes(simplify(model)[0]))
    assert [info.name for info in after.graph.value_info] == ["b"]


def test_unused_inputs_stay_and_unused_weights_go() -> None:
    text = "(float[N,4] x, float[N,4] unused) => (float[N,4] y) { y = Relu (x) dead = Exp (w) deader = Neg (dead) }"
    result, _ = simplify(build(text, w=floats(4), also=floats(4)))
    assert [value.name for value in result.graph.inputs] == ["x", "unused"]
    assert not result.graph.initializers
    assert len(result.graph) == 1


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21])
def test_opsets_from_7_on(opset: int) -> None:
    body = "c = Conv (x, w) n = BatchNormalization (c, s, s, s, s) r = Relu (n) i = Identity (r) y = Relu (i)"
    model = build(
        f"(float[N,2,5,5] x) => (float[N,3,3,3] y) {{ {body} }}", opset=opset, w=floats(3, 2, 3, 3), s=np.abs(floats(3))
    )
    report = fires("conv+batchnorm", model, "Conv Relu")
    assert report.changed["bounds"] == 1


def test_ir_version_3_stays_3_and_lists_its_initializers() -> None:
    text = """(float[N,4] x, float[4,4] w) => (float[N,4] y) {
        k = Constant <value = float[4] {1.0, 2.0, 3.0, 4.0}> ()
        t = Transpose (w)
        m = MatMul (x, t)
        y = Mul (m, k)
    }"""
    model = build(text, opset=8, ir_version=3, w=floats(4, 4))
    result, _ = simplify(model, ROOM)
    assert result.ir_version == 3
    assert {value.name for value in result.graph.inputs} == {"x", *result.graph.initializers}
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(result)))
    equal(model, result)


@settings(max_examples=40, deadline=None)
@given(nested_scopes())
def test_a_name_may_stand_for_something_else_in_every_scope(proto: onnx.ModelProto) -> None:
    assume(_runs(proto))
    model = model_file.load(proto)
    result, _ = simplify(model, ROOM)
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(result)))
    for fed in feeds_of_scopes():
        before, after = run(model, fed), run(result, fed)
        assert same(before["y"], after["y"])


def _runs(proto: onnx.ModelProto) -> bool:
    """Whether the runtime takes it: it allows an outer name in a nested graph, and refuses some of the ways to use one."""
    try:
        for fed in feeds_of_scopes():
            run(model_file.load(proto), fed)
    except OnnxslimError:
        return False
    return True


@pytest.mark.parametrize("missing", ["shape", "type"])
@pytest.mark.parametrize(("nodes", "dims"), [("y = Relu (a)", ["N", 4]), ("y = NonZero (a)", [2, None])])
def test_an_output_gets_what_it_does_not_say_of_itself(missing: str, nodes: str, dims: list[int | str | None]) -> None:
    header = '<ir_version: 8, opset_import: ["" : 17]>'
    proto = onnx.parser.parse_model(f"{header} test (float[N,4] x) => (float[N,4] y) {{ a = Identity (x) {nodes} }}")
    output = proto.graph.output[0]
    if missing == "shape":
        output.type.tensor_type.ClearField("shape")
        output.type.tensor_type.elem_type = 1 if "Relu" in nodes else 7
    else:
        output.ClearField("type")
    result, _ = simplify(proto)
    assert result.graph.outputs[0].dtype == (ir.DataType.FLOAT if "Relu" in nodes else ir.DataType.INT64)
    assert list(shapes.get_dims(result.graph.outputs[0]) or ()) == dims
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(result)))
    again, report = simplify(result)
    assert (model_file.to_bytes(again), dict(report.changed)) == (model_file.to_bytes(result), {})


def test_an_input_keeps_an_unknown_shape() -> None:
    model = build("(float x) => (float y) { a = Identity (x) y = Relu (a) }")
    for value in (model.graph.inputs[0], model.graph.outputs[0]):
        value.shape = None
    result, _ = simplify(model)
    assert [result.graph.inputs[0].shape, result.graph.outputs[0].shape] == [None, None]
    x = {"x": floats(2, 3, 4)}
    assert same(run(model, x)["y"], run(result, x)["y"])
