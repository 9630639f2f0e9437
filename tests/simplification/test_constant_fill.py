"""Tensors of one number are known, whatever their size, and never where an element could be another."""

from __future__ import annotations

import pytest

from onnxslim.simplification.constant_fill import is_filled_with
from tests.support.small_graphs import model


@pytest.mark.parametrize(
    ("body", "number", "filled"),
    [
        ("y = ConstantOfShape(n)", 0.0, True),
        ("y = ConstantOfShape<value = float[1] {2}>(n)", 2.0, True),
        ("c = ConstantOfShape(n)\n y = Transpose(c)", 0.0, True),
        ("c = ConstantOfShape(n)\n y = Concat<axis = 0>(c, zero)", 0.0, True),
        ("c = ConstantOfShape(n)\n y = Concat<axis = 0>(c, one)", 0.0, False),
        ("c = ConstantOfShape(n)\n y = Relu(c)", 0.0, False),
        ("y = Identity(mixed)", 0.0, False),
        ("y = Identity(x)", 0.0, False),
    ],
)
def test_a_fill_is_followed_through_what_only_selects(body: str, number: float, filled: bool) -> None:
    net = model(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (int64[1] n, float[2] x) => (float[m] y) <float[1] zero = {{0}}, float[1] one = {{1}}, float[2] mixed = {{0, 1}}> {{
      {body}
    }}""")
    assert is_filled_with(net.graph.outputs[0], number) == filled
