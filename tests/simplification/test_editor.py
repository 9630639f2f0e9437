"""A rewrite keeps names unique."""

from __future__ import annotations

import numpy as np

from onnxslim.simplification.step import simplify
from tests.support.equality import run, same
from tests.support.onnx_text import build, floats


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
    result, report = simplify(model)
    assert {"known Ifs", "unbound"} <= report.changed.keys()
    names = [node.name for node in result.graph.all_nodes()]
    assert len(set(names)) == len(names) == 4
    run(result, {"x": np.ones((1, 2, 4), np.float32)})


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
