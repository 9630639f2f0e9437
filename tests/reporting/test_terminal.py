"""The report in a terminal."""

from __future__ import annotations

import pytest

from tests.support.report_forms import HOSTILE, hostile, printed
from tests.support.sample_report import sample


def test_the_terminal_shows_what_was_declined_only_when_asked() -> None:
    assert "declined:" not in printed(sample())
    assert "quantize declined: measured faster in float32" in printed(sample(), explain=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_cannot_steer_the_terminal(name: str) -> None:
    said = printed(hostile(name), explain=True, width=400)
    assert "\x1b" not in said
    assert "\u202e" not in said
    if name.startswith("[bold"):
        assert "[bold red]rich[/]" in said
