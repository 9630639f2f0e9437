"""Constant folding: in one go, within its allowance, never a bomb, never what only looks constant."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.onnx_text import ROOM, build, fires, floats, rests

TINY = SimplifyOptions()


def ints(*numbers: int) -> np.ndarray:
    return np.asarray(numbers, np.int64)


def test_what_depends_on_constants_only_is_computed_once() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { t = Transpose (w) s = Sqrt (t) u = Exp (s) y = MatMul (x, u) }"
    report = fires("folded", build(text, w=np.abs(floats(4, 4))), "MatMul")
    assert report.changed["folded"] == 3


def test_a_constant_that_shrinks_needs_no_allowance() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { t = ReduceSum <keepdims=0> (w, a) y = Mul (x, t) }"
    fires("folded", build(text, w=floats(64, 4), a=ints(0)), "Mul", TINY)


@pytest.mark.parametrize("room", [TINY, ROOM])
def test_growth_is_declined_until_it_is_allowed(room: SimplifyOptions) -> None:
    text = "(float[N,64] x) => (float[N,64] y) { e = Expand (w, s) y = MatMul (x, e) }"
    model = build(text, w=floats(1, 64), s=ints(64, 64))
    if room is TINY:
        rests("folded", model, "the file would grow by", room)
    else:
        fires("folded", model, "MatMul", room)


def test_what_leads_to_a_declined_constant_is_folded_up_to_it() -> None:
    text = "(float[N,64] x) => (float[N,64] y) { s = Mul (t, u) e = Expand (w, s) y = MatMul (x, e) }"
    fires("shape arithmetic", build(text, w=floats(1, 64), t=ints(8, 8), u=ints(8, 8)), "Expand MatMul", TINY)


@pytest.mark.parametrize(
    "bomb",
    [
        "b = ConstantOfShape (huge)",
        "b = Expand (one, huge)",
        "r = Range (zero, top, step) b = Reshape (r, square)",
        "o = Reshape (one, ones2) b = Tile (o, huge)",
        "c = ConstantOfShape (huge) b = Neg (c)",
    ],
)
def test_a_bomb_is_never_allocated(bomb: str) -> None:
    side = 1 << 20
    model = build(
        f"(float[N,2] x) => (float[A,B] y) {{ {bomb} g = Gather (b, index) y = Add (x, g) }}",
        huge=ints(side, side),
        one=np.ones(1, np.float32),
        ones2=ints(1, 1),
        zero=np.float32(0),
        top=np.float32(2.0**40),
        step=np.float32(1),
        square=ints(side, side),
        index=ints(0),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result, report = simplify(model, SimplifyOptions(max_fold_bytes=1 << 20))
    assert not {"ConstantOfShape", "Expand", "Tile"}.isdisjoint(node.op_type for node in result.graph) or "Range" in bomb
    assert any("folding" in skipped.reason for skipped in report.skipped)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert len(model_file.to_bytes(result)) < 10_000


@pytest.mark.parametrize("op", ["RandomUniformLike (w)", "RandomNormalLike (w)", "Bernoulli (w)"])
def test_random_numbers_stay_random(op: str) -> None:
    model = build(f"(float[N,4] x) => (float[N,4] y) {{ r = {op} y = Add (x, r) }}", w=np.full((1, 4), 0.5, np.float32))
    result, report = simplify(model, ROOM)
    assert not report.changed
    assert len(result.graph) == 2


def test_two_random_numbers_stay_two() -> None:
    text = """(float[N,4] x) => (float[N,4] y, float[N,4] z) {
        a = RandomUniform <shape=[1,4]> ()
        b = RandomUniform <shape=[1,4]> ()
        y = Add (x, a)
        z = Add (x, b)
    }"""
    assert len(simplify(build(text), ROOM)[0].graph) == 4


def test_an_unknown_domain_is_a_barrier() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a = custom.Thing (w) b = custom.Thing (w) c = Add (a, b) y = Add (x, c) }"
    result, report = simplify(build(text, w=floats(4)), ROOM)
    assert not report.changed
    assert len(result.graph) == 4


def test_a_weight_stays_quantised() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { d = DequantizeLinear (q, s, z) y = MatMul (x, d) }"
    model = build(text, q=np.arange(16, dtype=np.int8).reshape(4, 4), s=np.float32(0.1), z=np.int8(0))
    rests("folded", model)


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    text = "(float[N,4] x, float[4] w) => (float[N,4] y) { a = Neg (w) y = Add (x, a) }"
    rests("folded", build(text, w=floats(4)), kept_inputs=["w"])


def test_a_constant_output_keeps_its_name_and_value() -> None:
    model = build("(float[N,4] x) => (float[N,4] y, float[4] z) { y = Relu (x) z = Neg (w) }", w=floats(4))
    fires("folded", model, "Relu Constant")
    assert [value.name for value in simplify(model)[0].graph.outputs] == ["y", "z"]


def test_inside_a_branch_what_is_constant_folds_too() -> None:
    text = """(float[N,4] x, bool c) => (float[N,4] y) {
        y = If (c) <
            then_branch = t () => (float[N,4] a) { n = Neg (w) m = Exp (n) a = Add (x, m) },
            else_branch = e () => (float[4] b) { b = Exp (w) }>
    }"""
    fires("folded", build(text, w=floats(4)), "If Add Constant")


def test_a_constant_that_the_runtime_refuses_to_compute_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "(float[N,4] x) => (float[N,4] y) { g = Gather (w, i) a = Neg (v) b = Add (g, a) y = Add (x, b) }"
    model = build(text, w=floats(4), i=ints(9), v=floats(4))
    _, report = simplify(model, ROOM)
    assert any("folding it failed" in skipped.reason for skipped in report.skipped)
