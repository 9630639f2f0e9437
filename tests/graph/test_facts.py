"""Constants, shapes and cost of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.graph import shapes
from onnxslim.graph.constant_propagation import propagate_constants
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.opset import raise_opset
from onnxslim.model_io import model_file


def model(text: str) -> ir.Model:
    return ir.from_onnx_text(text)


CONV = """<ir_version: 8, opset_import: ["" : 17]>
g (float[batch,3,height,width] x) => (float[batch,8,a,b] y)
<float[8,3,3,3] w = {ONES}, float[8] b = {0,0,0,0,0,0,0,0}> {
  y = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w, b)
}""".replace("ONES", ",".join("1" * 216))


def test_macs_follow_the_contract_with_free_dimensions_at_their_defaults() -> None:
    found = compute_cost(model(CONV))
    assert found.params == 216 + 8
    assert found.macs == 216 * 112 * 112
    assert compute_cost(model(CONV), {"height": 32, "width": 32}).macs == 216 * 16 * 16


def test_a_dimension_nobody_has_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--dim depth"):
        compute_cost(model(CONV), {"depth": 3})


def test_shape_arithmetic_is_seen_through() -> None:
    made = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,4,4] x) => (float[a,b,n,m] y) <int64[1] six = {6}, int64[2] ends = {1, 2}> {
      zeros = ConstantOfShape(six)
      whole = Cast<to=7>(zeros)
      pads = Concat<axis=0>(whole, ends)
      p = Pad(x, pads)
      y = Relu(p)
    }""")
    propagate_constants(made)
    assert shapes.get_static_dims(made.graph.node(0).outputs[0]) == (1, 2, 5, 6)


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    made = model(CONV)
    weight = made.graph.initializers["w"]
    assert get_const_array(weight) is not None
    made.graph.inputs.append(weight)
    assert get_const_array(weight) is None


def test_the_opset_is_raised_only_when_needed() -> None:
    made = model(CONV)
    same, raised = raise_opset(made, 13)
    assert same is made
    assert raised is None
    old = model(CONV.replace('"" : 17', '"" : 11'))
    new, raised = raise_opset(old, 13)
    assert raised == 11
    assert new.opset_imports[""] == 13


def test_scales_and_zero_points_are_no_parameters() -> None:
    made = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1,2,3,4}, float s = {0.5}, uint8 z = {3}> {
      q = QuantizeLinear(x, s, z)
      d = DequantizeLinear(q, s, z)
      y = MatMul(d, w)
    }""")
    assert compute_cost(made).params == 4


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("mobilenet_v2", 3_487_886, 300_774_272), ("cifar10_resnet56", 850_988, 125_485_696)],
)
def test_real_models_count_as_published(zoo: Path, name: str, params: int, macs: int) -> None:
    found = compute_cost(model_file.load(zoo / f"{name}.onnx"))
    assert (found.params, found.macs) == (params, macs)
    assert not found.unknown


def test_costs_are_read_without_touching_the_model() -> None:
    made = model(CONV)
    before = model_file.to_bytes(made)
    compute_cost(made)
    assert model_file.to_bytes(made) == before
    assert np.array_equal(made.graph.initializers["w"].const_value.numpy().ravel(), np.ones(216))  # type: ignore[union-attr]
