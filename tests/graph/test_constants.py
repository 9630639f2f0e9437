"""Which values never change."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array, get_const_tensor, is_made_of_constants
from tests.support.small_graphs import CONV, model


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    made = model(CONV)
    weight = made.graph.initializers["w"]
    assert get_const_array(weight) is not None
    made.graph.inputs.append(weight)
    assert get_const_array(weight) is None


def test_texts_are_constants_and_no_numbers() -> None:
    tensor = ir.StringTensor([b"a", b"b"], shape=ir.Shape([2]), name="k")
    value = ir.Value(name="k", const_value=tensor)
    node = ir.node("Constant", [], {"value": tensor})
    for constant in (value, node.outputs[0]):
        assert get_const_tensor(constant) is tensor
        assert get_const_array(constant) is None


def test_chains_longer_than_calls_may_be_deep_are_followed() -> None:
    for value, expected in ((ir.Value(name="x"), False), (model(CONV).graph.initializers["w"], True)):
        for _ in range(3000):
            value = ir.node("Relu", [value]).outputs[0]
        assert is_made_of_constants(value) is expected
    assert not is_made_of_constants(None)
    assert not is_made_of_constants(ir.node("RandomNormal", []).outputs[0])
