"""If with a branch that is known, or forced by the rank that is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.core.errors import OnnxslimError
from onnxslim.simplification.step import simplify
from tests.support.equality import run, same
from tests.support.onnx_text import build, fires, floats, rests

RULE = "known Ifs"


@pytest.mark.parametrize(("known", "op"), [(True, "Relu"), (False, "Neg")])
def test_a_known_condition_takes_its_branch(known: bool, op: str) -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        z = If (c) <
            then_branch = t () => (float[N,4] a) { a = Relu (x) },
            else_branch = e () => (float[N,4] b) { b = Neg (x) }>
        y = Sigmoid (z)
    }"""
    fires(RULE, build(text, c=np.asarray(known)), f"{op} Sigmoid")


def test_a_condition_on_the_rank_is_known_and_nested_branches_follow() -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        d = Shape (x)
        r = Size (d)
        c = Equal (r, two)
        y = If (c) <
            then_branch = t () => (float[N,4] a) {
                a = If (c) <
                    then_branch = t2 () => (float[N,4] p) { p = Relu (x) },
                    else_branch = e2 () => (float[N,4] q) { q = Neg (x) }>
            },
            else_branch = e () => (float[N,4] b) { b = Abs (x) }>
    }"""
    fires(RULE, build(text, two=np.asarray(2, np.int64)), "Relu")


def test_an_output_keeps_its_name_when_the_branch_returns_an_outer_value() -> None:
    text = """(float[N,4] x) => (float[N,4] y, float[N,4] z) {
        z = Relu (x)
        y = If (c) <
            then_branch = t () => (float[N,4] a) { a = Identity (z) },
            else_branch = e () => (float[N,4] b) { b = Neg (x) }>
    }"""
    model = build(text, c=np.asarray(True))
    fires(RULE, model, "Relu Identity")
    assert [value.name for value in simplify(model)[0].graph.outputs] == ["y", "z"]


def test_a_reader_that_accepts_one_rank_forces_the_branch() -> None:
    """As PyTorch exports x.squeeze(-1) before an LSTM."""
    text = """(float[N,6,L] x) => (float[H,M,5] y) {
        d = Shape <start=2> (x)
        c = Equal (d, one)
        s = If (c) <
            then_branch = t () => (float[N,6] a) { a = Squeeze (x, two) },
            else_branch = e () => (float[N,6,L] b) { b = Identity (x) }>
        u = Unsqueeze (s, zero)
        o, y = LSTM <hidden_size=5> (u, w, r)
    }"""
    model = build(
        text,
        one=np.asarray([1], np.int64),
        two=np.asarray([2], np.int64),
        zero=np.asarray([0], np.int64),
        w=floats(1, 20, 6),
        r=floats(1, 20, 5),
    )
    result, report = simplify(model)
    assert RULE in report.changed
    assert [node.op_type for node in result.graph] == ["Squeeze", "Unsqueeze", "LSTM"]
    fed = {"x": floats(2, 6, 1)}
    assert same(run(model, fed)["y"], run(result, fed)["y"])
    with pytest.raises(OnnxslimError):  # what the model refused is refused still
        run(result, {"x": floats(2, 6, 3)})


def test_not_a_condition_on_data() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        y = If (c) <
            then_branch = t () => (float[N,4] a) { a = Relu (x) },
            else_branch = e () => (float[N,4] b) { b = Neg (x) }>
    }"""
    rests(RULE, build(text))


def test_nearly_forced_when_both_branches_have_the_rank() -> None:
    text = """(float[N,6,5,5] x, bool c) => (float[N,3,5,5] y) {
        s = If (c) <
            then_branch = t () => (float[N,6,5,5] a) { a = Relu (x) },
            else_branch = e () => (float[N,6,5,5] b) { b = Neg (x) }>
        y = Conv (s, w)
    }"""
    rests(RULE, build(text, w=floats(3, 6, 1, 1)))
