"""SARIF of a verification."""

from __future__ import annotations

import json

import pytest

from onnxslim.reporting.sarif import render_sarif
from tests.support.verified import verified


@pytest.mark.parametrize(("inconclusive", "kind", "level"), [("fail", "fail", "warning"), ("pass", "open", "none")])
def test_each_check_is_a_rule_and_what_did_not_pass_a_result_at_the_candidate(
    inconclusive: str, kind: str, level: str
) -> None:
    document = json.loads(render_sarif(verified(inconclusive)))
    (run,) = document["runs"]
    assert document["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["interface", "drop-of-top1", "speed"]
    assert [(result["ruleId"], result["kind"], result["level"]) for result in run["results"]] == [
        ("drop-of-top1", "fail", "error"), ("speed", kind, level),
    ]  # fmt: skip
    # only what is a failure may have a level (SARIF 2.1.0, 3.27.10)
    assert all((result["kind"] == "fail") != (result["level"] == "none") for result in run["results"])
    assert {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]} == {"slim.onnx"}


def test_a_path_is_a_uri() -> None:
    report = verified()
    report["output"]["path"] = "/models of mine/slim.onnx"
    assert "file:///models%20of%20mine/slim.onnx" in render_sarif(report)
