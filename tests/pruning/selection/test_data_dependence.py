"""What has as many elements as the data say, and what stands for it in a comparison."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.pruning.selection.data_dependence import find_comparable_tensors, find_data_dependent

CASES = {
    "none": ("b = Relu(a) y = Sigmoid(b)", ["y"]),
    "a list of those above zero": ("g = Greater(a, zero) i = NonZero(g) t = Transpose(i) y = GatherND(a, t)", ["a"]),
    "suppressed boxes": (
        "u = Unsqueeze(a, first) n = NonMaxSuppression(x3, u) k = Gather<axis=0>(n, first) f = Cast<to=1>(k) y = Relu(f)",
        ["u"],
    ),
    "what is taken out by a condition": (
        "b = Neg(a) c = Greater(b, zero) d = Squeeze(c) y = Compress<axis=0>(a, d)",
        ["a", "b"],
    ),
    "distinct values": ("f = Reshape(a, flat) y, i, j, k = Unique(f)", ["f"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_list_is_found_from_stands_for_it(name: str) -> None:
    nodes, expected = CASES[name]
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[n,4] x, float[1,n,4] x3) => (float[k] y)
        <float zero = {{0}}, int64[1] first = {{0}}, int64[1] flat = {{-1}}> {{ a = Tanh(x) {nodes} }}""")
    for node in model.graph:
        for value in node.outputs:
            if value.name in ("c", "d", "g"):
                value.dtype = ir.DataType.BOOL
            elif value.name in ("i", "t", "n", "k"):
                value.dtype = ir.DataType.INT64
    assert find_comparable_tensors(model.graph) == expected
    dependent = {value.name for value in find_data_dependent(model.graph)}
    assert ("y" in dependent) == (name != "none")
    assert not dependent & {*expected}
