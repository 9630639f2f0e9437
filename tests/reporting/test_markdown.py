"""The report as Markdown."""

from __future__ import annotations

import pytest

from onnxslim.reporting.markdown import render_markdown
from tests.support.report_forms import HOSTILE, hostile


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_cell_in_markdown(name: str) -> None:
    said, safe = render_markdown(hostile(name)), render_markdown(hostile("plain"))
    assert len(said.splitlines()) == len(safe.splitlines())
    assert [line.count("|") for line in said.splitlines()] == [line.count("|") for line in safe.splitlines()]
    assert "<script" not in said
    assert "<img" not in said
