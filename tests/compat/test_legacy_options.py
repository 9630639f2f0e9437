"""The keywords and patterns of 0.1.98, read."""

from __future__ import annotations

import pytest

import onnxslim
from onnxslim.compat.legacy_options import FUSION_PATTERNS, parse_keywords
from onnxslim.core.errors import UsageError


def test_what_is_skipped_exists_here() -> None:
    from onnxslim.simplification.rule_table import RULES

    known = {rule.name for rule in RULES}
    assert {name for names in FUSION_PATTERNS.values() for name in names} <= known


def test_a_pattern_of_no_name_is_refused(wide: str) -> None:
    with pytest.raises(UsageError, match="FusionX"):
        onnxslim.slim(wide, skip_fusion_patterns=["FusionX"])


@pytest.mark.parametrize("threshold", [None, 0, 1000])
def test_no_byte_for_folding_is_not_the_same_as_nothing_said(threshold: int | None) -> None:
    assert parse_keywords(size_threshold=threshold).size_threshold == threshold
