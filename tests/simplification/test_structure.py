"""What models are made of besides nodes: functions, nested graphs, external data, old versions, names, metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnxslim.model_io import model_file
from onnxslim.simplification.rounding_check import measure_difference
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.equality import assert_simplified, run, same
from tests.support.onnx_text import ROOM, build, feeds, fires, floats


def equal(before: ir.Model, after: ir.Model) -> None:
    fed = feeds(before, 2)
    one, two = run(before, fed), run(after, fed)
    assert list(one) == list(two)
    assert all(same(one[name], two[name]) for name in one)


def test_a_function_is_inlined_and_then_simplified() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
    test (float[N,4] x) => (float[N,4] y) { a = local.twice (x) b = local.twice (a) y = Relu (b) }
    <opset_import: ["" : 17], domain: "local"> twice (v) => (w) { k = Constant <value = float {2.0}> () w = Mul (v, k) }
    """
    model = model_file.load(onnx.parser.parse_model(text))
    result, account = simplify(model)
    assert not result.functions
    assert account.changed["functions inlined"] == 1
    assert [node.op_type for node in result.graph] == ["Mul", "Relu"]
    equal(model, result)


def test_a_function_that_cannot_be_inlined_is_a_barrier() -> None:
    text = """<ir_version: 9, opset_import: ["" : 17, "local" : 1]>
    test (float[N,4] x) => (float[N,4] y) { a = local.f (x) b = Identity (a) y = local.f (b) }
    <opset_import: ["" : 18], domain: "local"> f (v) => (w) { w = Relu (v) }
    """
    result, account = simplify(onnx.parser.parse_model(text))
    assert [node.op_type for node in result.graph] == ["f", "f"]
    assert any("functions are not inlined" in declined.reason for declined in account.declined)


def test_rules_work_inside_branches_and_loops() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        z = If (c) <
            then_branch = t () => (float[N,4] a) { i = Identity (x) r = Relu (i) a = Relu (r) },
            else_branch = e () => (float[N,4] b) { u = Unsqueeze (x, axis) s = Squeeze (u, axis) b = Neg (s) }>
        y = Loop (trips, , z) <body = l (int64 n, bool g, float[N,4] v) => (bool h, float[N,4] w) {
            h = Identity (g)
            i = Dropout (v)
            w = Add (i, x)
        }>
    }"""
    model = build(text, axis=np.asarray([1], np.int64), trips=np.asarray(3, np.int64))
    result, _ = simplify(model)
    assert [node.op_type for node in result.graph.all_nodes()] == ["If", "Relu", "Neg", "Loop", "Identity", "Add"]
    for condition in (True, False):
        fed = {"x": floats(2, 4), "c": np.asarray(condition)}
        assert same(run(model, fed)["y"], run(result, fed)["y"])


def test_what_two_branches_compute_alike_is_not_taken_out_of_them() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        y = If (c) <
            then_branch = t () => (float[N,4] a) { e = Exp (x) a = Add (e, x) },
            else_branch = f () => (float[N,4] b) { e = Exp (x) b = Sub (e, x) }>
    }"""
    model = build(text)
    result, account = simplify(model)
    assert not account.changed
    equal(model, result)


def test_no_two_nodes_have_one_name_because_of_a_rewrite() -> None:
    """Runtimes refuse such a file; two branches and the graph around them may well share their names."""
    text = """(float[N,2,4] x) => (float[N,4] y, float[N,2,4] z) {
        s = Shape (x)
        r = Size (s)
        c = Equal (r, three)
        z = If (c) <then_branch = yes () => (float[N,2,4] t) { t = Sigmoid (x) },
                    else_branch = no () => (float[N,2,4] e) { e = Tanh (x) }>
        a, b = Split <axis = 1> (z)
        p = Squeeze (a, one)
        q = Squeeze (b, one)
        y = Add (p, q)
    }"""
    model = build(text, three=np.asarray(3), one=np.asarray([1]))
    for node in model.graph.all_nodes():
        node.name = "squash" if node.op_type in ("Sigmoid", "Tanh", "Add") else f"the {node.op_type}"
    result, account = simplify(model)
    assert {"known Ifs", "unbound"} <= account.changed.keys()
    names = [node.name for node in result.graph.all_nodes()]
    assert len(set(names)) == len(names) == 4
    run(result, {"x": np.ones((1, 2, 4), np.float32)})


def test_a_branch_uses_what_the_outer_graph_computes() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y, float[N,4] z) {
        z = Exp (x)
        y = If (c) <
            then_branch = t () => (float[N,4] a) { e = Exp (x) a = Add (e, x) },
            else_branch = f () => (float[N,4] b) { b = Neg (x) }>
    }"""
    fires("computed once", build(text), "Exp If Add Neg")


def test_the_same_name_in_two_branches_means_two_values() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        y = If (c) <
            then_branch = t () => (float[N,4] a) { k = Constant <value = float {2.0}> () a = Mul (x, k) },
            else_branch = f () => (float[N,4] b) { k = Constant <value = float {3.0}> () b = Mul (x, k) }>
    }"""
    model = build(text)
    result, _ = simplify(model)
    for condition in (True, False):
        fed = {"x": floats(2, 4), "c": np.asarray(condition)}
        assert same(run(model, fed)["y"], run(result, fed)["y"])


def test_weights_beside_the_model_are_read_from_there(tmp_path: Path) -> None:
    model = build(
        "(float[N,64] x) => (float[N,64] y) { i = Identity (x) m = MatMul (i, w) n = MatMul (m, v) y = Add (n, b) }",
        w=floats(64, 64),
        v=floats(64, 64),
        b=floats(64),
    )
    model_file.save(model, tmp_path / "m.onnx", external_data=True)
    result, account = simplify(tmp_path / "m.onnx")
    assert account.changed == {"identities": 1, "matmul+add": 1, "stored once": 1}
    equal(model, result)


def test_equal_weights_are_stored_once_and_nearly_equal_ones_twice() -> None:
    w = floats(128, 128)
    nearly = w.copy()
    nearly[64, 3] += 1e-3
    text = """(float[N,128] x) => (float[N,128] y) {
        a = MatMul (x, w1)
        b = MatMul (a, w2)
        c = MatMul (b, w3)
        y = MatMul (c, turned)
    }"""
    turned = w.reshape(64, 256).reshape(128, 128)
    result, account = simplify(build(text, w1=w, w2=nearly, w3=w.copy(), turned=turned))
    assert account.changed == {"stored once": 2}
    assert len(result.graph.initializers) == 2


def test_equal_bytes_of_another_type_or_shape_are_not_merged() -> None:
    text = "(int32[N,4] x) => (int32[N,4] y, float[N,4] z) { y = Add (x, a) f = Cast <to=1> (x) z = Add (f, b) }"
    model = build(text, a=np.zeros((1, 4), np.int32) + 7, b=(np.zeros((1, 4), np.int32) + 7).view(np.float32))
    assert "stored once" not in simplify(model)[1].changed


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
    account = fires("conv+batchnorm", model, "Conv Relu")
    assert account.changed["bounds"] == 1


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


def test_the_argument_is_never_changed() -> None:
    model = build("(float[N,4] x) => (float[N,4] y) { i = Identity (x) t = Neg (w) y = Add (i, t) }", w=floats(4))
    proto = onnx.load_model_from_string(model_file.to_bytes(model))
    before, kept = model_file.to_bytes(model), proto.SerializeToString(deterministic=True)
    simplify(model)
    simplify(proto)
    assert model_file.to_bytes(model) == before
    assert proto.SerializeToString(deterministic=True) == kept


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    text = """(float[N,L,12] x, bool c) => (float[N,L,3,4] y) {
        d = Shape (x)
        n = Gather (d, zero)
        l = Gather (d, one)
        t = Concat <axis=0> (n, l, k)
        i = If (c) <
            then_branch = a () => (float[N,L,12] p) { q = Exp (w) p = Mul (x, q) },
            else_branch = e () => (float[N,L,12] r) { s = Exp (w) r = Add (x, s) }>
        y = Reshape (i, t)
    }"""
    ints = {"zero": [0], "one": [1], "k": [3, 4]}
    model = build(text, w=floats(12), **{name: np.asarray(numbers, np.int64) for name, numbers in ints.items()})
    path = tmp_path / "m.onnx"
    model_file.save(model, path)
    program = (
        "import sys, hashlib; from onnxslim.model_io import model_file; from onnxslim.simplification.step import simplify; "
        "print(hashlib.sha256(model_file.to_bytes(simplify(sys.argv[1])[0])).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1


def test_a_network_on_the_tail_of_its_sigmoid_keeps_its_bits() -> None:
    """Rounded differently, a logit of -14 gives outputs that differ by percents; so the exact form is kept."""
    text = """(float[N,3,9,9] x) => (float[N,8,7,7] y) {
        c = Conv (x, w)
        n = BatchNormalization (c, s, b, m, v)
        i = Identity (n)
        y = Sigmoid (i)
    }"""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.1,
        "s": np.ones(8, np.float32),
        "b": np.full(8, -15.5, np.float32),
        "m": rng.standard_normal(8).astype(np.float32),
        "v": rng.uniform(0.5, 1.5, 8).astype(np.float32),
    }
    model = build(text, **arrays)
    result, account = simplify(model)
    assert "conv+batchnorm" not in account.changed
    assert account.changed == {"identities": 1}
    assert any("rounded differently" in declined.reason for declined in account.declined)
    fed = feeds(model, 2)
    assert (run(model, fed)["y"] == run(result, fed)["y"]).all()
    _, account = simplify(build(text, **{**arrays, "b": np.zeros(8, np.float32)}))
    assert account.changed == {"identities": 1, "conv+batchnorm": 1}
    assert measure_difference(model, result, 0) == 0


def test_what_may_be_huge_or_endless_is_not_run_to_compare_it() -> None:
    side = np.asarray([1 << 20, 1 << 20], np.int64)
    text = """(float[N,4] x) => (float[N,5] y) {
        m = MatMul (x, w)
        a = Add (m, b)
        h = ConstantOfShape (side)
        t = ReduceMax <keepdims=0> (h)
        y = Add (a, t)
    }"""
    _, account = simplify(build(text, w=floats(4, 5), b=floats(5), side=side))
    assert account.changed["matmul+add"] == 1
    assert "not measured" in account.details["rounding"]


def test_a_file_that_would_grow_is_left_as_it_was() -> None:
    """A tiny graph where a constant takes more bytes than the nodes it replaces."""
    text = "(float[N,4] x) => (float[N,4] y) { k = ConstantOfShape <value = float[1] {3.0}> (s) y = Add (x, k) }"
    model = build(text, s=np.asarray([60, 1, 4], np.int64)[1:])
    result, _ = simplify(model, SimplifyOptions(max_fold_bytes=0))
    assert len(model_file.to_bytes(result)) <= 1.02 * len(model_file.to_bytes(model))


def test_no_file_of_a_hundred_bytes_grows_either() -> None:
    """Where a rewrite of one node costs more bytes than estimates tell apart, the model is left alone."""
    model = build("(float[N,1,1,1] x) => (float[N,1] y) { y = ReduceMean <axes = [2, 3], keepdims = 0> (x) }", opset=16)
    result, _ = simplify(model)
    assert len(model_file.to_bytes(result)) <= 1.02 * len(model_file.to_bytes(model))


def test_a_graph_without_nodes_and_one_with_an_initializer_as_output() -> None:
    graph = helper.make_graph(
        [],
        "empty",
        [],
        [helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(floats(4), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result, account = simplify(model)
    assert not account.changed
    assert [value.name for value in result.graph.outputs] == ["w"]
