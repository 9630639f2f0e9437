"""Which values never change."""

from __future__ import annotations

from onnxslim.graph.constants import get_const_array
from tests.support.small_graphs import CONV, model


def test_an_initializer_that_a_caller_may_override_is_no_constant() -> None:
    made = model(CONV)
    weight = made.graph.initializers["w"]
    assert get_const_array(weight) is not None
    made.graph.inputs.append(weight)
    assert get_const_array(weight) is None
