"""float16 on a machine without: what is rounded, and that the runtime does not leave the rounding out."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.shapes import infer
from onnxslim.graph.traversal import name_nodes, walk
from onnxslim.model_io import model_file
from onnxslim.quantization.float16.simulation import simulate_float16
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model

X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


def build(text: str, kept: tuple[str, ...] = (), **arrays: np.ndarray) -> tuple[ir.Model, ir.Model]:
    """A model, and what it is with all but the ops ``kept`` in float16."""
    original = model(text, **arrays)
    infer(original)
    name_nodes(original.graph.all_nodes())
    copy = model_file.clone(original)
    simulate_float16(copy, {node for node in walk(copy.graph) if node.op_type in kept})
    return original, copy


def half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize(("optimize", "kept"), list(itertools.product((True, False), ((), ("Add",), ("Sub",)))))
def test_every_tensor_is_rounded_but_those_of_what_is_kept(optimize: bool, kept: tuple[str, ...]) -> None:
    text = "g (float[n,8] x) => (float[n,8] y, float[n,8] a) { a = Add(x, k)\n y = Sub(a, k) }"
    k = np.full(8, 3000.1, np.float32)
    original, simulated = build(text, kept, k=k)
    found = Session(simulated, SessionConfig(optimize=optimize)).run({"x": X})
    a = X + k if "Add" in kept else half(half(X) + half(k))
    y = a - k if "Sub" in kept else half(half(a) - half(k))
    np.testing.assert_array_equal(found["a"], a)
    np.testing.assert_array_equal(found["y"], y)
    assert [v.name for v in simulated.graph.outputs] == [v.name for v in original.graph.outputs]


def test_what_float16_cannot_hold_is_infinite_there_too() -> None:
    _, simulated = build("g (float[n,8] x) => (float[n,8] y) { y = Mul(x, k) }", k=np.float32(60000).reshape(()))
    assert np.isinf(Session(simulated).run({"x": np.full((1, 8), 2, np.float32)})["y"]).all()


def test_bodies_are_rounded_too() -> None:
    text = """g (float[n,8] x, bool c) => (float[n,8] y) {
      h = Add(x, k)
      y = If (c) <
        then_branch = yes () => (float[n,8] a) { a = Sub(h, k) },
        else_branch = no () => (float[n,8] b) { b = Identity(x) }
      >
    }"""
    k = np.full(8, 3000.1, np.float32)
    _, simulated = build(text, k=k)
    for c, expected in ((True, half(half(half(X) + half(k)) - half(k))), (False, half(X))):
        np.testing.assert_array_equal(Session(simulated).run({"x": X, "c": np.array(c)})["y"], expected)
