"""JUnit's XML of a verification."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from onnxslim.reporting.junit import render_junit
from tests.support.verified import verified


@pytest.mark.parametrize(("inconclusive", "failures", "skipped"), [("fail", 2, 0), ("pass", 1, 1)])
def test_each_check_is_a_case_and_what_counts_as_a_failure_is_one(inconclusive: str, failures: int, skipped: int) -> None:
    suite = ElementTree.fromstring(render_junit(verified(inconclusive))).find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["interface", "drop of top1", "speed"]
    assert {case.get("classname") for case in cases} == {"slim.onnx"}
    assert suite.attrib["tests"] == "3"
    assert len(suite.findall(".//failure")) == int(suite.attrib["failures"]) == failures
    assert len(suite.findall(".//skipped")) == int(suite.attrib["skipped"]) == skipped


def test_a_name_that_no_xml_may_hold_is_spelled_out() -> None:
    report = verified()
    report["verification"]["checks"][0]["message"] = 'input \x00<&"\x1b is missing'
    assert "\\u{0}" in "".join(ElementTree.fromstring(render_junit(report)).itertext()) + render_junit(report)
