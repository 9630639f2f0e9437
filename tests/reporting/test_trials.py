"""What a search tried, in every form."""

from __future__ import annotations

import html
import re

import pytest

from tests.support.report_forms import FORMS
from tests.support.sample_report import sample


@pytest.mark.parametrize("form", FORMS)
def test_what_became_of_a_trial_and_what_takes_another_point_is_told(form: str) -> None:
    report = sample()
    report["candidates"][3] |= {"verdict": "slower here: 0.9 times the speed", "note": "9 layers went back"}
    told = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>|│", " ", FORMS[form](report))))
    assert "slower here: 0.9 times the speed" in told
    assert "another point: prune 40% + int8, 2.9 times faster" in told
    assert "--max-drop 3.5%" in told
    assert "prune 20% + int8: 2.2 times faster" in told, "the first line says what was gained"
    assert ("9 layers went back" in told) == (form == "terminal"), "details are for --explain"
