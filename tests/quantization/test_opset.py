"""The opset is raised where a step needs it."""

from __future__ import annotations

from onnxslim.quantization.opset import raise_opset
from tests.support.small_graphs import CONV, model


def test_the_opset_is_raised_only_when_needed() -> None:
    made = model(CONV)
    same, raised = raise_opset(made, 13)
    assert same is made
    assert raised is None
    old = model(CONV.replace('"" : 17', '"" : 11'))
    new, raised = raise_opset(old, 13)
    assert raised == 11
    assert new.opset_imports[""] == 13
