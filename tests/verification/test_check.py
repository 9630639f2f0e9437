"""What several checks come to."""

from __future__ import annotations

from itertools import permutations

from onnxslim.verification.check import Check, conclude


def test_one_that_fails_decides_then_one_that_cannot_tell() -> None:
    checks = [Check("a", "pass", ""), Check("b", "cannot tell", ""), Check("c", "fail", "")]
    assert {conclude(order) for order in permutations(checks)} == {"fail"}
    assert {conclude(order) for order in permutations(checks[:2])} == {"cannot tell"}
    assert conclude(checks[:1]) == conclude([]) == "pass"
