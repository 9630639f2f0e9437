"""Weights that are no numbers are found and named, whatever op holds them and however they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph.finite_weights import find_nonfinite_weights, is_finite
from tests.support.quantize_graphs import model

LAYERS = {
    "Conv": ("y = Conv (x, w, b)", (4, 3, 3, 3)),
    "ConvTranspose": ("y = ConvTranspose (x, w, b)", (3, 4, 3, 3)),
    "Gemm": ("y = Gemm (x, w, b)", (3, 4)),
    "MatMul": ("h = MatMul (x, w) \n y = Add (h, b)", (3, 4)),
    "LSTM": ("y = LSTM <hidden_size=2> (x, w, r, b)", (1, 8, 3)),
    "LayerNormalization": ("y = LayerNormalization (x, w, b)", (4,)),
    "BatchNormalization": ("y = BatchNormalization (x, w, b, m, m)", (4,)),
    "InstanceNormalization": ("y = InstanceNormalization (x, w, b)", (4,)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("constant", ["w", "b"])
@pytest.mark.parametrize("op", LAYERS)
def test_a_weight_and_a_bias_that_are_no_numbers_are_named(
    op: str, constant: str, value: float, what: str, dtype: type
) -> None:
    text, shape = LAYERS[op]
    arrays = {"w": np.ones(shape, dtype), "b": np.ones((1, 16) if op == "LSTM" else 4, dtype)}
    if op == "LSTM":
        arrays["r"] = np.ones((1, 8, 2), dtype)
    if op == "BatchNormalization":
        arrays["m"] = np.ones(4, dtype)
    made = model(f"g (float[n] x) => (float[n] y) {{ {text} }}", **arrays)
    assert not list(find_nonfinite_weights(made.graph))
    arrays[constant].flat[-1] = value
    made = model(f"g (float[n] x) => (float[n] y) {{ {text} }}", **arrays)
    (found,) = find_nonfinite_weights(made.graph)
    position = list(np.array(arrays[constant].shape) - 1)
    assert (found.name, found.is_bias, found.what, list(found.position)) == (constant, constant == "b", what, position)
    assert f"{constant} " in str(found)


def test_masks_and_tables_are_no_weights() -> None:
    made = model("g (float[n,4] x) => (float[n,4] y) { y = Add (x, m) }", m=np.array([0, 0, -np.inf, 0], np.float32))
    assert not list(find_nonfinite_weights(made.graph))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "PRelu"])
def test_what_is_added_or_multiplied_to_inputs_of_layers_is_found_where_it_is_nan(op: str) -> None:
    made = model(f"g (float[n,4] x) => (float[n,4] y) {{ y = {op} (x, m) }}", m=np.array([0, 0, np.nan, 0], np.float32))
    (found,) = find_nonfinite_weights(made.graph)
    assert (found.name, found.what, found.position) == ("m", "NaN", (2,))
    made.graph[0].name = None  # as in bodies
    assert "(y)" in str(next(find_nonfinite_weights(made.graph)))


def test_a_row_of_a_table_is_found_where_it_is_no_mask() -> None:
    text = "g (int64[n] i) => (float[n,4] y) { y = Gather (t, i) }"
    table = np.zeros((3, 4), np.float32)
    table[1, 2] = -np.inf  # as in a table of masks
    assert not list(find_nonfinite_weights(model(text, t=table).graph))
    for value, what in ((np.nan, "NaN"), (np.inf, "infinity")):
        table[1, 2] = value
        (found,) = find_nonfinite_weights(model(text, t=table).graph)
        assert (found.name, found.what, found.position) == ("t", what, (1, 2))
    bounds = model("g (int64[n] i) => (float[n] y) { y = Gather (t, i) }", t=np.array([1, np.inf], np.float32))
    assert not list(find_nonfinite_weights(bounds.graph))


def test_large_numbers_are_finite() -> None:
    assert is_finite(np.full(1000, 3e38, np.float32))
    assert not is_finite(np.array([np.inf, -np.inf], np.float32))
