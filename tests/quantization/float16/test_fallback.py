"""What goes back to float32: kinds that the runtime refuses, nodes that the outputs need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import LimitError, OnnxslimError, UnsupportedError
from onnxslim.graph.shapes import infer
from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.float16 import fallback
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model

CONFIG = SessionConfig()


def build(text: str, **arrays: np.ndarray) -> ir.Model:
    found = model(text, **arrays)
    infer(found)
    name_nodes(found.graph.all_nodes())
    return found


def test_kinds_of_op_that_the_runtime_refuses_in_float16_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for any op that the installed runtime has no float16 kernel for, and no way to cast around."""
    original = build("g (float[n,8] x) => (float[n,8] y) { a = Tanh(x)\n b = Erf(a)\n c = Neg(b)\n y = Sigmoid(c) }")
    refused = {"Erf", "Sigmoid"}

    def loads(candidate: ir.Model, config: SessionConfig) -> bool:
        return not any(n.op_type in refused and n.inputs[0].dtype == ir.DataType.FLOAT16 for n in candidate.graph)  # type: ignore[union-attr]

    monkeypatch.setattr(fallback, "loads", loads)
    found = fallback.keep_runnable(original, fallback.convert_copy(original, {}), None, CONFIG)
    assert loads(found.model, CONFIG)
    kept = {node.op_type for node in original.graph if node.name in found.float32_nodes}
    assert kept == refused
    assert all("does not load" in why for why in found.float32_nodes.values())


@pytest.mark.parametrize("op", ["Erf", "Tanh"])
def test_kinds_of_op_that_the_runtime_loads_in_float16_and_cannot_run_stay(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As AffineGrid of onnxruntime 1.32, which it computes in float16 by the op's definition."""
    original = build("g (float[n,8] x) => (float[n,8] y) { a = Tanh(x)\n b = Erf(a)\n y = Neg(b) }")

    def make_run_check(candidate: ir.Model, config: SessionConfig) -> Callable[[object], OnnxslimError | None]:
        fails = any(n.op_type == op and n.inputs[0].dtype == ir.DataType.FLOAT16 for n in candidate.graph)  # type: ignore[union-attr]
        return lambda feed: UnsupportedError("the runtime failed") if fails else None

    monkeypatch.setattr(fallback, "make_run_check", make_run_check)
    feed = {"x": np.ones((1, 8), np.float32)}
    found = fallback.keep_runnable(original, fallback.convert_copy(original, {}), feed, CONFIG)
    assert {node.op_type for node in original.graph if node.name in found.float32_nodes} == {op}
    assert all("does not load or run" in why for why in found.float32_nodes.values())


def test_single_nodes_go_back_where_no_kind_helps() -> None:
    """A difference of large numbers next to each other: all of it is in the bits that float16 does not have."""
    text = """g (float[n,8] x) => (float[n,8] y) {
      a = Add(x, k)
      b = Sub(a, k)
      c = Neg(b)
      y = Tanh(c)
    }"""
    original = build(text, k=np.full(8, 3000, np.float32))
    feeds = [{"x": np.random.default_rng(seed).standard_normal((1, 8)).astype(np.float32)} for seed in range(4)]
    reference = ReferenceOutputs(original, feeds, CONFIG)
    first = fallback.convert_copy(original, {})
    assert reference.error(fallback.simulate(original, first)) > fallback.MAX_OUTPUT_ERROR
    found, error = fallback.keep_accurate(original, first, reference, feeds, CONFIG)
    assert error <= fallback.MAX_OUTPUT_ERROR
    assert {"Add", "Sub"} <= {node.op_type for node in original.graph if node.name in found.float32_nodes}
    short, kept_error = fallback.keep_accurate(original, first, reference, feeds, CONFIG, lambda: False)
    assert short is first
    assert kept_error > fallback.MAX_OUTPUT_ERROR


def test_no_more_nodes_go_back_than_the_outputs_ask_for() -> None:
    """The sine of a large number is all in the bits that float16 does not have; the layer behind it is not."""
    rng = np.random.default_rng(0)
    original = build(
        "g (float[n,8] x) => (float[n,8] y) { s = Sin(x)\n y = MatMul(s, w) }", w=rng.random((8, 8), np.float32)
    )
    feeds = [{"x": 1000 * rng.standard_normal((1, 8)).astype(np.float32)} for _ in range(4)]
    reference = ReferenceOutputs(original, feeds, CONFIG)
    found, error = fallback.keep_accurate(original, fallback.convert_copy(original, {}), reference, feeds, CONFIG)
    assert error <= fallback.MAX_OUTPUT_ERROR
    assert [node.op_type for node in original.graph if node.name in found.float32_nodes] == ["Sin"]


def test_kinds_that_there_is_no_time_to_load_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    original = build("g (float[n,8] x) => (float[n,8] y) { a = Tanh(x)\n y = Erf(a) }")
    monkeypatch.setattr(fallback, "loads", lambda candidate, config: candidate is original)
    found = fallback.keep_runnable(original, fallback.convert_copy(original, {}), None, CONFIG, lambda: False)
    assert {node.name for node in original.graph} == set(found.float32_nodes)


def test_what_cannot_be_tried_for_want_of_room_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(candidate: ir.Model, config: SessionConfig) -> bool:
        raise LimitError("no room")

    original = build("g (float[n,8] x) => (float[n,8] y) { y = Tanh(x) }")
    monkeypatch.setattr(fallback, "loads", loads)
    conversion = fallback.convert_copy(original, {})
    assert fallback.keep_runnable(original, conversion, None, CONFIG) is conversion


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_ranking_that_there_is_no_time_for_is_empty(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = build("g (float[n,8] x) => (float[n,8] y) { a = Tanh(x)\n y = Erf(a) }")
    feeds = [{"x": np.ones((1, 8), np.float32) / 3}]
    answers, runs = iter([True] * allowed + [False]), list[object]()
    monkeypatch.setattr(fallback, "_observe_values", lambda *given: runs.append(given) or {})
    conversion = fallback.convert_copy(original, {})
    assert fallback.rank_nodes(original, conversion, feeds, CONFIG, lambda: next(answers)) == []
    assert len(runs) == allowed
    monkeypatch.undo()
    assert fallback.rank_nodes(original, conversion, feeds, CONFIG)


def test_what_went_back_with_its_kind_is_float16_again_where_the_outputs_do_not_need_it() -> None:
    """One of eight square roots does the harm: of numbers that differ in the bits that float16 does not have."""
    lines = ["r0 = Sqrt(x)", *(f"r{i} = Sqrt(t{i})\n s{i} = Neg(r{i})\n t{i + 1} = Abs(s{i})" for i in range(1, 8))]
    text = f"""g (float[n,8] x) => (float[n,8] y, float[n,8] z) {{ b = Sub(r0, k)\n y = Tanh(b)\n t1 = Sigmoid(x)
      {chr(10).join(lines[1:])}\n z = Neg(t8) }}""".replace("{ b =", f"{{ {lines[0]}\n b =")
    original = build(text, k=np.full(8, 100, np.float32))
    feeds = [{"x": 1e4 + 100 * np.random.default_rng(s).standard_normal((1, 8)).astype(np.float32)} for s in range(4)]
    reference = ReferenceOutputs(original, feeds, CONFIG)
    first = fallback.convert_copy(original, {})
    found, error = fallback.keep_accurate(original, first, reference, feeds, CONFIG)
    assert error <= fallback.MAX_OUTPUT_ERROR
    kept = [node for node in original.graph if node.name in found.float32_nodes]
    assert "r0" in {node.outputs[0].name for node in kept}
    assert sum(node.op_type == "Sqrt" for node in kept) < 8
