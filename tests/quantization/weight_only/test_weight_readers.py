"""Which axes of a weight have scales, by what reads it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.quantization.weight_only.weight_readers import find_scale_axes
from tests.support.quantize_graphs import model, weight


@pytest.mark.parametrize(
    ("text", "shape", "first"),
    [
        ("y = MatMul (x, w)", (8, 6), (1,)),
        ("y = MatMul (x, w)", (2, 8, 6), (0, 2)),
        ("y = Gemm <transB=1> (x, w)", (6, 8), (0,)),
        ("y = Conv (x, w)", (6, 8, 1, 1), (0,)),
        ("y = ConvTranspose (x, w)", (8, 6, 1, 1), (1,)),
        ("y = ConvTranspose <group=8> (x, w)", (8, 1, 1, 1), (0,)),
        ("y = LSTM <hidden_size=2> (x, w, w)", (1, 8, 8), (0, 1)),
        ("y = Gather (w, x)", (8, 6), (0,)),
        ("t = Transpose <perm=[1,0]> (w) \n y = MatMul (x, t)", (6, 8), (0,)),
    ],
)
def test_outputs_have_scales(text: str, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    found = model(f"g (float[n,m] x) => (float[n,k] y) {{ {text} }}", w=weight(*shape))
    value = found.graph.initializers["w"]
    axes = find_scale_axes(value, value.const_value.numpy())  # type: ignore[union-attr]
    assert axes[0] == first


@pytest.mark.parametrize(
    "text",
    [
        "y = Sub (x, w)",
        "y = Add (x, w)",  # no layer reads the sum
        "c = Concat <axis=0> (x, w) \n y = MatMul (c, v)",  # activations and a constant: no weight
        "t = Transpose (w) \n y = MatMul (x, t) \n z = Sub (x, t)",  # read by no layer as well
    ],
)
def test_what_is_no_weight_is_told(text: str) -> None:
    found = model(
        f"g (float[8,8] x) => (float[8,8] y) {{ {text} }}", w=weight(8, 8), **({"v": weight(8, 8)} if "v)" in text else {})
    )
    value = found.graph.initializers["w"]
    assert isinstance(find_scale_axes(value, np.asarray(value.const_value)), str)
