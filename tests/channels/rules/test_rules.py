"""Every rule against the oracle, on a small model of its own."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.rules import RULES
from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.runtime.session import check_loads
from tests.support.channel_cases import CASES
from tests.support.channel_graphs import convs
from tests.support.mask_oracle import assert_exact


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    net, expected = CASES[name]
    if net.opset_imports[""] > 22:
        try:
            check_loads(net)
        except (UnsupportedError, InvalidModelError) as error:
            pytest.skip(f"this runtime does not have it: {error}")
    analysis = assert_exact(net, sets=3, dims={"n": 2} if "flattened" in name and "batch" in name else None)
    assert analysis.count == expected, analysis.pinned


def test_every_rule_has_a_case() -> None:
    seen = {_key(node) for net, _ in CASES.values() for node in net.graph}
    assert set(RULES) - seen == set()


def test_an_op_without_a_rule_pins_and_says_so() -> None:
    analysis = analyze_channels(convs("m = custom.Odd(h)", imports=', "custom" : 1'))
    assert analysis.count == 0
    assert {pin.reason for pin in analysis.pinned} >= {"Odd has no rule"}


def _key(node: ir.Node) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def test_the_oracle_sees_a_rule_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    net = convs("m = Softmax<axis=1>(h)")
    monkeypatch.setitem(RULES, "Softmax", RULES["Relu"])
    with pytest.raises(AssertionError, match="off by"):
        assert_exact(net)
