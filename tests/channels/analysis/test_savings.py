"""What a unit saves is what removing it alone saves."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.rewriter import delete_units
from onnxslim.graph.cost import compute_cost
from tests.support.channel_cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_savings_are_what_removing_a_unit_alone_saves(name: str) -> None:
    net, _ = CASES[name]
    analysis = analyze_channels(net)
    before = compute_cost(net)
    for unit in sorted({0, analysis.count // 2, analysis.count - 1} & set(range(analysis.count))):
        pruned = net.clone()
        delete_units(pruned, analysis, [unit])
        after = compute_cost(pruned)
        assert before.params - after.params == analysis.params[unit]
        if not before.unknown:
            assert abs(before.macs - after.macs - analysis.macs[unit]) <= _uncounted(net)


def _uncounted(net: ir.Model) -> int:
    """Recurrent nets and einsums are not in the contract's MACs, so neither are they in the units'."""
    return 0 if not any(node.op_type in ("Attention", "MultiHeadAttention") for node in net.graph) else 10**9
