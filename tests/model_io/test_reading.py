"""Models read from every source, changed by nobody."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, LimitError, UnsupportedError, UsageError
from onnxslim.model_io import model_file
from tests.support.protos import FLOAT, info, proto, same, weights


@pytest.mark.parametrize("form", ["path", "text", "name", "bytes", "proto", "model"])
def test_every_source_gives_the_same_model(form, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    onnx.save(proto(), path)
    monkeypatch.chdir(tmp_path)
    source = {
        "path": path,
        "text": str(path),
        "name": "model.onnx",
        "bytes": path.read_bytes(),
        "proto": proto(),
        "model": ir.from_proto(proto()),
    }[form]
    assert same(onnx.load_from_string(model_file.to_bytes(model_file.load(source))), proto())


def test_nothing_that_was_passed_in_is_changed(tmp_path):
    source = proto()
    before = source.SerializeToString(deterministic=True)
    model = model_file.load(source)
    kept = model_file.load(model)
    model.graph.initializers["w"].name = "renamed"
    model_file.to_bytes(model)
    model_file.save(model, tmp_path / "out.onnx", external_data=True)
    assert source.SerializeToString(deterministic=True) == before
    assert [value.name for value in kept.graph.initializers.values()] == ["w"]
    assert np.shares_memory(weights(kept), model.graph.initializers["renamed"].const_value.numpy())
    assert [kept.graph.initializers["w"].const_value.name, weights(kept).sum()] == ["w", 2048]


@pytest.mark.parametrize("form", ["raw", "typed"])
def test_a_model_that_was_passed_in_keeps_its_names_and_shares_its_elements(form):
    message = proto()
    if form == "typed":
        message.graph.initializer[0].CopyFrom(helper.make_tensor("w", FLOAT, [2048], np.ones(2048)))
    source = ir.from_proto(message)
    model = model_file.load(source)
    model.graph.initializers["w"].name = "renamed"
    assert source.graph.initializers["w"].const_value.name == "w"
    assert model.graph.initializers["renamed"].const_value.numpy().sum() == 2048
    assert same(onnx.load_from_string(model_file.to_bytes(source)), message)


@pytest.mark.parametrize("source", ["missing.onnx", "missing/model.onnx", "zero\0.onnx", "half\ud800.onnx", 7, None])
def test_what_cannot_be_opened_is_a_wrong_call(source):
    with pytest.raises(UsageError) as caught:
        model_file.load(source)
    assert caught.value.exit_code == 2


def test_a_file_that_may_not_be_read_is_a_wrong_call(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    onnx.save(proto(), path)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UsageError, match="Permission denied"):
        model_file.load(path)


def test_a_path_that_changes_hands_between_the_looks_is_refused(tmp_path, monkeypatch):
    plain, pipe = tmp_path / "plain", tmp_path / "pipe"
    plain.write_bytes(b"\x08")
    os.mkfifo(pipe)
    status = os.stat(plain)
    monkeypatch.setattr(os, "stat", lambda path, **_: status)
    with pytest.raises(InvalidModelError, match="pipe"):
        model_file.load(pipe)


def test_too_many_files_is_a_limit(beside, monkeypatch):
    real = os.open

    def exhausted(path: str, *rest: int) -> int:
        if path.endswith(".data"):
            raise OSError(24, "Too many open files")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", exhausted)
    with pytest.raises(LimitError, match="Too many open files"):
        model_file.load(beside)


def test_reading_stays_within_the_memory_that_is_allowed(tmp_path):
    data = proto().SerializeToString()
    with pytest.raises(LimitError, match=r"1,000 bytes") as caught:
        model_file.load(data, max_memory=1000)
    assert caught.value.exit_code == 6
    model_file.load(data, max_memory=1_000_000)


def test_no_memory_left_is_a_limit(monkeypatch):
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(model_file.serialization, "parse", exhausted)
    with pytest.raises(LimitError, match="memory"):
        model_file.load(b"\x08\x08")


def test_subgraphs_deeper_than_a_file_can_have_are_refused():
    model = proto()
    graph = model.graph
    for depth in range(80):
        node = graph.node.add(op_type="If", input=["x"], output=[f"o{depth}"])
        node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
        graph = node.attribute[0].g
        graph.name = "inner"
        graph.output.add(name=f"o{depth + 1}")
    with pytest.raises(InvalidModelError, match="deep"):
        model_file.load(model)


def test_types_nested_without_end_are_refused():
    model = proto()
    inner = model.graph.input[0].type
    for _ in range(3000):
        inner.sequence_type.SetInParent()
        inner = inner.sequence_type.elem_type
    inner.tensor_type.elem_type = FLOAT
    with pytest.raises(InvalidModelError, match="nested too deeply"):
        model_file.load(model)


def test_functions_and_every_kind_of_attribute_come_back():
    model = proto()
    model.ir_version = 10
    imports = [helper.make_opsetid("", 13)]
    body = [helper.make_node("LeakyRelu", ["a"], ["b"])]
    body[0].attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    function = helper.make_function("local", "F", ["a"], ["b"], body, imports, value_info=[info("b")])
    function.attribute_proto.append(helper.make_attribute("slope", 0.5))
    function.overload = "one"
    model.functions.append(function)
    model.opset_import.add(domain="local", version=1)
    model.opset_import[0].version = 15
    inner = helper.make_graph([helper.make_node("Relu", ["s"], ["t"])], "inner", [], [info("t")])
    call = helper.make_node("F", ["s"], ["f"], domain="local", overload="one")
    odd = helper.make_node("Odd", ["f"], ["o"], domain="com.example", graphs=[inner, inner], words=["a", "b"])
    numbers = numpy_helper.from_array(np.ones(2, np.float32))
    odd.attribute.append(helper.make_attribute("tensors", [numbers, numbers]))
    odd.attribute.append(helper.make_attribute("types", [helper.make_tensor_type_proto(FLOAT, [2])] * 2))
    nothing = helper.make_node("Optional", [], ["n"], type=helper.make_tensor_type_proto(FLOAT, [2]))
    model.graph.node.extend([call, odd, nothing])
    assert same(onnx.load_from_string(model_file.to_bytes(model_file.load(model))), model)
    model.graph.node[2].input[0] = "later"
    model.graph.node[3].output.append("later")
    with pytest.raises(InvalidModelError, match="cycle"):
        model_file.load(model)


def test_what_onnx_ir_cannot_hold_is_unsupported_whatever_it_is(monkeypatch):
    def give_up(_: object) -> None:
        raise RuntimeError("a page of context") from NotImplementedError("no such thing\nas this")

    monkeypatch.setattr(ir, "from_proto", give_up)
    with pytest.raises(UnsupportedError, match=r"no such thing$"):
        model_file.load(proto())


def test_an_unknown_domain_is_no_error():
    model = proto()
    model.graph.node[0].domain = "com.example"
    model.graph.node[0].op_type = "Anything"
    assert model_file.load(model).graph[0].op_type == "Anything"


@pytest.mark.parametrize(("op", "opset"), [
    ("SimplifiedLayerNormalization", 23), ("LayerNormalization", 12), ("MeanVarianceNormalization", 8),
    ("ThresholdedRelu", 9), ("ImageScaler", 8),
])  # fmt: skip
@pytest.mark.parametrize("place", ["graph", "body", "function"])
def test_what_the_runtime_adds_to_the_standard_domain_is_no_error(op, opset, place, capfd):
    """onnxruntime's optimiser of transformers and its exporter of decoders write such; converters before opset 10 did."""
    model = build_with_op(op, opset, place)
    found = model_file.load(model)
    assert [node.op_type for node in onnx.load_from_string(model_file.to_bytes(found)).graph.node] == [
        node.op_type for node in model.graph.node
    ]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["", "norm 1"])
@pytest.mark.parametrize("place", ["graph", "body", "function"])
def test_an_op_that_nobody_has_is_unsupported_whether_or_not_its_node_has_a_name(name, place):
    with pytest.raises(UnsupportedError, match=r"Norm.*no op of the ONNX standard at this opset") as caught:
        model_file.load(build_with_op("Norm", 17, place, name))
    assert place != "graph" or (name or "without a name") in caught.value.message


def build_with_op(op: str, opset: int, place: str, name: str = "") -> onnx.ModelProto:
    """One node of ``op`` with a scale, in the graph, in both branches of an If or in a function."""
    node = helper.make_node(op, ["x", "scale"] if op.endswith("LayerNormalization") else ["x"], ["y"], name=name)
    x, y = info("x"), info("y")
    scale = helper.make_tensor_value_info("scale", FLOAT, [4])
    body, functions, imports = [node], [], [helper.make_opsetid("", opset)]
    inputs = [x, scale] if "scale" in node.input else [x]
    if place == "body":
        branch = helper.make_graph([node], "branch", [], [y])
        other = helper.make_graph([node], "other", [], [y])
        body = [helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=other)]
        inputs.append(helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []))
        y = info("z")
    elif place == "function":
        functions = [helper.make_function("own", "F", list(node.input), ["y"], [node], imports)]
        body = [helper.make_node("F", list(node.input), ["y"], domain="own")]
        imports = [*imports, helper.make_opsetid("own", 1)]
    graph = helper.make_graph(body, "g", inputs, [y])
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=8)


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("named", [True, False])
def test_a_graph_without_a_name_and_weights_that_an_old_file_does_not_list_are_taken_and_written_by_the_standard(
    ir_version, named
):
    model = proto()
    model.ir_version = ir_version
    model.graph.name = "main" if named else ""
    written = onnx.load_from_string(model_file.to_bytes(model_file.load(model)))
    onnx.checker.check_model(written)
    assert written.graph.name == ("main" if named else "graph")
    assert [value.name for value in written.graph.input] == (["x", "w"] if ir_version == 3 else ["x"])
    assert written.ir_version == ir_version


def test_initializers_that_are_inputs_stay_inputs():
    model = proto()
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [2048]))
    back = onnx.load_from_string(model_file.to_bytes(model_file.load(model)))
    assert [value.name for value in back.graph.input] == ["x", "w"]
    assert [tensor.name for tensor in back.graph.initializer] == ["w"]
    assert (back.ir_version, back.opset_import[0].version) == (3, 13)


def test_minus_one_is_an_unknown_dimension():
    model = proto()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    model.graph.value_info[0].type.tensor_type.shape.dim[0].dim_value = -1
    loaded = model_file.load(model)
    assert [loaded.graph.inputs[0].shape[0].value, loaded.graph[0].outputs[0].shape[0].value] == [None, None]
    assert loaded.graph.inputs[0].shape.get_denotation(0) == "DATA_BATCH"


def test_the_long_name_of_the_standard_domain_is_the_short_one():
    model = proto()
    model.opset_import[0].domain = "ai.onnx"
    model.graph.node[0].domain = "ai.onnx"
    assert model_file.load(model).opset_imports[""] == 13


@pytest.mark.parametrize(
    ("domain", "version"), [("", 13), ("ai.onnx", 13), ("com.example", 3), ("unused.example", 1), ("ai.onnx.ml", 2)]
)
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("place", ["model", "function"])
def test_a_domain_may_be_imported_again_at_the_same_version(domain, version, times, place):
    model = proto()
    model.opset_import.add(domain="local", version=1)
    twice = helper.make_node("Add", ["a", "a"], ["b"])
    model.functions.append(helper.make_function("local", "twice", ["a"], ["b"], [twice], [helper.make_opsetid("", 13)]))
    target = model if place == "model" else model.functions[0]
    for _ in range(times):
        target.opset_import.add(domain=domain, version=version)
    back = onnx.load_from_string(model_file.to_bytes(model_file.load(model)))
    written = back if place == "model" else back.functions[0]
    imports = [(opset.domain, opset.version) for opset in written.opset_import]
    assert imports.count(("" if domain == "ai.onnx" else domain, version)) == 1
    assert len(dict(imports)) == len(imports)
    onnx.checker.check_model(back)


@pytest.mark.parametrize("domain", ["", "ai.onnx", "com.example"])
@pytest.mark.parametrize("place", ["model", "function"])
def test_a_domain_at_two_versions_is_refused_with_both(domain, place):
    model = proto()
    twice = helper.make_node("Add", ["a", "a"], ["b"])
    imports = [helper.make_opsetid("", 13), helper.make_opsetid("com.example", 3)]
    model.functions.append(helper.make_function("local", "twice", ["a"], ["b"], [twice], imports))
    (model if place == "model" else model.functions[0]).opset_import.add(domain=domain, version=12)
    with pytest.raises(InvalidModelError, match=r"(13|3), and a second one of 12"):
        model_file.load(model)


@pytest.mark.parametrize("names", ["x", "y", "xy"])
def test_a_tensor_at_the_edge_may_have_no_shape(names):
    model = proto()
    for value in (*model.graph.input, *model.graph.output):
        if value.name in names:
            value.type.tensor_type.ClearField("shape")
    loaded = model_file.load(model)
    assert [value.shape is None for value in (*loaded.graph.inputs, *loaded.graph.outputs)] == [n in names for n in "xy"]
    assert same(onnx.load_from_string(model_file.to_bytes(loaded)), model)


def test_an_output_may_have_no_type_and_an_input_may_not():
    model = proto()
    model.graph.output[0].ClearField("type")
    assert model_file.load(model).graph.outputs[0].type is None
    model.graph.input[0].ClearField("type")
    with pytest.raises(InvalidModelError, match="input 'x' has no type") as caught:
        model_file.load(model)
    assert "element type" in caught.value.hint


def test_a_cycle_that_was_built_in_memory_is_told():
    model = ir.from_proto(proto())
    model.graph[0].replace_input_with(0, model.graph[1].outputs[0])
    with pytest.raises(InvalidModelError, match="cannot be copied"):
        model_file.load(model)
