"""What a search tried, in every form."""

from __future__ import annotations

import re

import pytest

from tests.support.report_forms import FORMS
from tests.support.sample_report import sample


@pytest.mark.parametrize("form", FORMS)
def test_what_is_to_be_known_of_a_trial_stands_behind_what_became_of_it(form: str) -> None:
    report = sample()
    report["candidates"][3] |= {"passes": False, "missed": ["slower than the original"], "note": "9 layers went back"}
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]+>|│", " ", FORMS[form](report)))
    assert "slower than the original (9 layers went back)" in told
