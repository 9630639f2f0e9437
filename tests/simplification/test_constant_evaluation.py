"""Constants in batches, and constants that are computed when they are read."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.simplification import constant_evaluation
from onnxslim.simplification.step import simplify
from tests.support.equality import run, same
from tests.support.onnx_text import ROOM, build, feeds, floats


def test_large_results_of_many_are_computed_when_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """(float[N,64] x) => (float[N,32] y) {
        t = Transpose <perm=[1,0]> (w)
        a = MatMul (x, t)
        e = Exp (v)
        s = Neg (e)
        b = MatMul (a, s)
        y = MatMul (b, k)
    }"""
    model = build(text, w=floats(64, 64), v=floats(64, 64, seed=1), k=floats(64, 32, seed=2))
    now, _ = simplify(model, ROOM)
    monkeypatch.setattr(constant_evaluation, "MAX_HELD_BYTES", 0)
    monkeypatch.setattr(constant_evaluation, "MIN_LAZY_BYTES", 0)
    later, report = simplify(model, ROOM)
    tensors = [value.const_value for value in later.graph.initializers.values()]
    assert sum(isinstance(tensor, ir.LazyTensor) for tensor in tensors) == 2
    assert report.changed["folded"] == 3
    assert model_file.to_bytes(later) == model_file.to_bytes(now)
    fed = feeds(model, 2)
    assert same(run(model, fed)["y"], run(later, fed)["y"])


def test_many_regions_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    body = " ".join(f"e{i} = Exp (w{i}) a{i + 1} = Add (a{i}, e{i})" for i in range(6))
    text = f"(float[N,64] a0) => (float[N,64] y) {{ {body} y = Relu (a6) }}"
    model = build(text, **{f"w{i}": floats(1, 64, seed=i) for i in range(6)})
    whole, _ = simplify(model, ROOM)
    sessions = []
    run_one = constant_evaluation._run
    monkeypatch.setattr(constant_evaluation, "_run", lambda private: sessions.append(len(private.graph)) or run_one(private))
    monkeypatch.setattr(constant_evaluation, "MAX_BATCH_BYTES", 2 * 64 * 4)
    parts, _ = simplify(model, ROOM)
    assert sessions == [2, 2, 2]
    assert model_file.to_bytes(parts) == model_file.to_bytes(whole)


def test_of_several_regions_only_the_one_that_fails_is_left() -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        a = Exp (u)
        b = Gather (v, i)
        c = Neg (w)
        d = Add (x, a)
        e = Add (d, b)
        y = Add (e, c)
    }"""
    arrays = {"u": floats(4), "v": floats(4), "w": floats(4), "i": np.asarray([9], np.int64)}
    result, report = simplify(build(text, **arrays), ROOM)
    assert report.changed["folded"] == 2
    assert next(node.op_type for node in result.graph) == "Gather"
    assert any("folding it failed" in skipped.reason for skipped in report.skipped)
