"""Which tensors hold what the inputs miss until the model asks for it."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from onnxslim.data.missing_values import find_missing_values

GRAPHS = {
    "s = Mul (x, k)  t = Reshape (s, n)  i = IsNaN (t)  y = Where (i, k, t)": {"x", "s", "t"},
    "s = Transpose (x)  i = Equal (s, s)  t = Add (x, k)  y = Where (i, k, t)": {"x", "s"},
    "s = MatMul (x, k)  t = Add (s, k)  i = IsNaN (t)  y = Where (i, k, t)": set(),
    "y = Add (x, k)": set(),
}


@pytest.mark.parametrize(("body", "names"), GRAPHS.items(), ids=GRAPHS)
def test_missing_values_go_from_an_input_to_what_asks_for_them(body: str, names: set[str]) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,1] x) => (float[1,1] y) <float[1,1] k = {{2}}, int64[2] n = {{1, 1}}> {{ {body} }}"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    assert {value.name for value in find_missing_values(model.graph)} == names
