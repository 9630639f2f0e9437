"""Every row of the CPU table against the installed runtime's own optimised graph, both ways."""

from __future__ import annotations

import pytest

from onnxslim.quantize import contract
from onnxslim.quantize.contract import LINEAR, PATTERNS, UNFUSED
from onnxslim.quantize.targets import TARGETS, Kind, Row

CPU = TARGETS["cpu"]


def test_every_row_has_a_pattern() -> None:
    assert set(CPU.rows) <= PATTERNS.keys() | LINEAR.keys()


@pytest.mark.parametrize("op", sorted(CPU.rows))
def test_what_the_table_says_fuses_does(op: str) -> None:
    finding = contract.try_row(CPU, op, CPU.rows[op], True, None)
    assert finding.fused, f"{op} left {finding.ops}"


@pytest.mark.parametrize("op", UNFUSED)
def test_what_the_table_leaves_out_does_not_fuse(op: str) -> None:
    row = Row(Kind.OWN, lambda node: None, "")
    forced = contract.replace(CPU, rows={**CPU.rows, op: row})
    finding = contract.try_row(forced, op, row, False, None)
    assert not finding.fused, f"{op} fuses now: give it a row ({finding.ops})"
