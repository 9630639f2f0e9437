"""The front of sizes as reports tell it."""

from __future__ import annotations

from onnxslim.reporting.evidence import list_evidence
from onnxslim.reporting.storage import describe_storage

REPORT = {
    "steps": [
        {"name": "simplify"},
        {
            "name": "quantize",
            "details": {
                "kernels": ["uint4:64", "int8:128"],
                "storage": [
                    {"bytes": 900_000, "loss": 0.01, "chosen": False, "ms": 0.21},
                    {"bytes": 1_800_000, "loss": 0.0, "chosen": True},
                ],
            },
        },
    ]
}


def test_each_point_is_a_line_and_the_one_that_was_taken_is_marked() -> None:
    lines = list(describe_storage(REPORT))
    assert lines == [
        "weights by bits: 900 kB, 20.0 dB expected, 0.210 ms a run",
        "weights by bits: 1.80 MB, nothing lost (taken)",
    ]
    assert set(lines) <= set(list_evidence(REPORT))


def test_kernels_are_told_where_everything_is_asked_for() -> None:
    assert list(describe_storage(REPORT, explain=True))[-1].endswith("kernels for: uint4:64, int8:128")


def test_other_reports_have_no_such_lines() -> None:
    assert list(describe_storage({"steps": [{"name": "quantize", "details": {}}]})) == []
    assert list(describe_storage({})) == []
