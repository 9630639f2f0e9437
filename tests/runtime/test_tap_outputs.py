"""A tap shows an inner tensor and changes nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.runtime.session import Session
from onnxslim.runtime.tap_outputs import tap_outputs
from tests.support.digits import FEED


def test_a_tap_shows_an_inner_tensor_and_changes_nothing(digits: ir.Model) -> None:
    inner = next(node.outputs[0] for node in digits.graph if node.op_type == "Conv")
    outputs = Session(tap_outputs(digits, [str(inner.name)])).run(FEED)
    shown = outputs[digits.graph.outputs[0].name or ""]
    np.testing.assert_array_equal(shown, next(iter(Session(digits).run(FEED).values())))
    alone = Session(tap_outputs(digits, [str(inner.name)], only=True))
    assert alone.outputs == [inner.name]
