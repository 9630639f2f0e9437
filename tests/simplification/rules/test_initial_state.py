"""Recurrent layers that begin at zero."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.simplification.step import simplify
from tests.support.onnx_text import build, fires, floats, rests

RULE = "initial states"
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: Zeros, or others, of shape (1, batch, 5) as exporters compute them.
STATE = """s = Shape (x)
    n = Gather <axis = 0> (s, one)
    size = Concat <axis = 0> (one, n, five)
    h = {made}"""
MADE = {"zeros": "ConstantOfShape (size)", "expanded": "Expand (zero, size)", "ones": "Expand (first, size)"}


def layer(op_type: str, state: str, inputs: str, outputs: str = "y", **more: np.ndarray):
    text = f"""(float[T,N,3] x, float[1,N,5] given) => (float[T,1,N,5] y) {{
        {STATE.format(made=MADE[state])}
        {outputs} = {op_type} <hidden_size = 5> (x, w, r, , , {inputs})
    }}"""
    gates = GATES[op_type]
    numbers = {"one": np.asarray([1]), "five": np.asarray([5]), "zero": np.zeros(1, np.float32)}
    arrays = {"w": floats(1, 5 * gates, 3), "r": floats(1, 5 * gates, 5, seed=1), "first": np.ones(1, np.float32)}
    return build(text, **arrays, **numbers, **more)


@pytest.mark.parametrize("state", ["zeros", "expanded"])
@pytest.mark.parametrize("op_type", GATES)
def test_a_state_of_zeros_is_omitted_with_all_that_computed_it(op_type: str, state: str) -> None:
    model = layer(op_type, state, "h, h" if op_type == "LSTM" else "h")
    fires(RULE, model, op_type)
    result, _ = simplify(model)
    assert len(next(iter(result.graph)).inputs) == 3


def test_one_of_two_states_goes_alone() -> None:
    model = layer("LSTM", "zeros", "given, h", outputs="y, last")
    fires(RULE, model, "LSTM")
    (node,) = simplify(model)[0].graph
    assert [value.name if value else None for value in node.inputs] == ["x", "w", "r", None, None, "given"]


def test_outputs_that_were_omitted_stay_so() -> None:
    text = """(float[T,N,3] x) => (float[1,N,5] last) { , last = GRU <hidden_size = 5> (x, w, r, , , h) }"""
    model = build(text, w=floats(1, 15, 3), r=floats(1, 15, 5), h=np.zeros((1, 2, 5), np.float32))
    (node,) = simplify(model)[0].graph
    assert [value.name for value in node.outputs] == ["", "last"]
    assert len(node.inputs) == 3


def test_another_state_stays() -> None:
    rests(RULE, layer("GRU", "ones", "h"))


def test_a_state_that_is_fed_stays() -> None:
    rests(RULE, layer("GRU", "zeros", "given"))


def test_layers_that_share_one_tensor_of_zeros_need_none_of_it() -> None:
    """As TorchScript exports two layers: zeros for both, and a Slice for each."""
    text = """(float[T,N,5] x) => (float[T,N,5] y) {
        s = Shape (x)
        n = Gather <axis = 0> (s, one)
        size = Concat <axis = 0> (two, n, five)
        h = ConstantOfShape (size)
        h0 = Slice (h, zero, one, zero)
        h1 = Slice (h, one, two, zero)
        a = GRU <hidden_size = 5> (x, w, r, , , h0)
        b = Squeeze (a, one)
        c = GRU <hidden_size = 5> (b, w, r, , , h1)
        y = Squeeze (c, one)
    }"""
    numbers = {name: np.asarray([n]) for name, n in {"zero": 0, "one": 1, "two": 2, "five": 5}.items()}
    fires(RULE, build(text, w=floats(1, 15, 5), r=floats(1, 15, 5, seed=1), **numbers), "GRU Squeeze GRU Squeeze")


def test_a_state_that_is_zeros_beside_others_stays() -> None:
    text = """(float[T,2,3] x) => (float[T,1,2,5] y) {
        h = Concat <axis = 1> (zeros, ones)
        y = GRU <hidden_size = 5> (x, w, r, , , h)
    }"""
    parts = {"zeros": np.zeros((1, 1, 5), np.float32), "ones": np.ones((1, 1, 5), np.float32)}
    rests(RULE, build(text, w=floats(1, 15, 3), r=floats(1, 15, 5, seed=1), **parts))
