"""Every rule does what its claims say it should; what the clock says of them is for ``doctor``."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph import shapes
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session
from onnxslim.simplification.rule import Rule
from onnxslim.simplification.rule_table import RULES
from onnxslim.simplification.speed import measurement
from onnxslim.simplification.speed.claim import SpeedClaim

CLAIMS = [pytest.param(rule, claim, id=claim.description) for rule in RULES for claim in rule.claims]


@pytest.mark.parametrize(("rule", "claim"), CLAIMS)
def test_a_rule_fires_where_it_gains_and_declines_where_it_loses(rule: Rule, claim: SpeedClaim) -> None:
    model = claim.build()
    _, report = measurement.rewrite(model, rule, weighs_speed=True)
    assert (rule.name in report.changed) == claim.gains, report
    assert claim.gains or any("slower" in skipped.reason for skipped in report.skipped), report
    forced, forced_report = measurement.rewrite(model, rule, weighs_speed=False)
    assert rule.name in forced_report.changed
    feed = {str(v.name): np.ones(shapes.resolve_sizes(v), np.float32) for v in model.graph.inputs}
    np.testing.assert_allclose(*(Session(m).run(feed)["y"] for m in (model, forced)), rtol=1e-3, atol=1e-4)


def test_the_runtime_leaves_the_pad_of_the_claims_apart() -> None:
    """It folds a Pad without axes itself, and then both forms would be one."""
    pads = next(rule for rule in RULES if rule.name == "pads")
    for claim in pads.claims:
        ops = {node.op_type for node in read_optimized_graph(claim.build()).graph}
        assert "Pad" in ops, claim.description


def test_a_claim_holds_within_what_a_clock_can_tell() -> None:
    claims = {gains: SpeedClaim("", "", gains) for gains in (True, False)}
    held = [measurement.TimedClaim("", claims[True], speedup).holds for speedup in (0.9, 0.97, 1.5)]
    assert held == [False, True, True]
    held = [measurement.TimedClaim("", claims[False], speedup).holds for speedup in (0.4, 1.03, 1.2)]
    assert held == [True, True, False]
