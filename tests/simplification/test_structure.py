"""What models are made of besides nodes: functions, nested graphs, external data, old versions, names, metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxslim.model_io import model_file
from onnxslim.simplification.step import simplify
from tests.support.equality import run, same
from tests.support.onnx_text import build, equal, fires, floats


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


def test_a_branch_uses_what_the_outer_graph_computes() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y, float[N,4] z) {
        z = Exp (x)
        y = If (c) <
            then_branch = t () => (float[N,4] a) { e = Exp (x) a = Add (e, x) },
            else_branch = f () => (float[N,4] b) { b = Neg (x) }>
    }"""
    fires("computed once", build(text), "Exp If Add Neg")


def test_weights_beside_the_model_are_read_from_there(tmp_path: Path) -> None:
    model = build(
        "(float[N,64] x) => (float[N,64] y) { i = Identity (x) m = MatMul (i, w) n = MatMul (m, v) y = Add (n, b) }",
        w=floats(64, 64),
        v=floats(64, 64),
        b=floats(64),
    )
    model_file.save(model, tmp_path / "m.onnx", external_data=True)
    result, report = simplify(tmp_path / "m.onnx")
    assert report.changed == {"identities": 1, "matmul+add": 1, "stored once": 1}
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


def test_a_graph_without_nodes_and_one_with_an_initializer_as_output() -> None:
    graph = helper.make_graph(
        [],
        "empty",
        [],
        [helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(floats(4), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result, report = simplify(model)
    assert not report.changed
    assert [value.name for value in result.graph.outputs] == ["w"]
