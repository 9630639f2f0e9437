"""Steps as the report tells them."""

from __future__ import annotations

from onnxslim.reporting.steps import list_steps
from tests.support.sample_report import sample


def test_steps_group_what_they_declined_by_reason() -> None:
    found = list_steps(sample())
    assert [step.changed for step in found] == ["12 folded, 52 fused", "148 channels", "51 int8"]
    assert [step.left for step in found] == [0, 9, 2]
    assert [len(step.skipped) for step in found] == [0, 1, 2]
